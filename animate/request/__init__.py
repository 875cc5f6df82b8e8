"""Settings of a clip: one schema for Python, YAML, manifests and the command line."""
