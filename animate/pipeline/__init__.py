"""Clips in memory: pictures and motion in, frames out, by the conventions of diffusers."""
