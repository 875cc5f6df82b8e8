"""Endings of files by what they hold, for folders in which there are several kinds."""

from __future__ import annotations

from animate.files import IMAGE_SUFFIXES

PHOTO_SUFFIXES = (*IMAGE_SUFFIXES, ".avif", ".heic", ".heif")
"""Single pictures."""
VIDEO_SUFFIXES = (
    *(".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".gif", ".apng"),
)
POSE_SUFFIXES = (".npz", ".json")
