"""The studio: photo, motion, corrections, clips and comparison in a browser, over one folder."""
