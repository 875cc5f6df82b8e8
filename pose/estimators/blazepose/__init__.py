"""The embedded whole-body estimator: six small networks of the BlazePose family."""
