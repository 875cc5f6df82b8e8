"""Counts of names, words and calls in the source of a checkout."""
