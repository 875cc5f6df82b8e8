"""The embedded whole-body estimator: small networks of the BlazePose family."""
