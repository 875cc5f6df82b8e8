"""Generated frames to finished frames."""
