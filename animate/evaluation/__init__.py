"""Measures of pictures and clips."""
