"""Whole-body motion from video: numpy, OpenCV and onnxruntime only."""
