"""The driving motion: poses, their cache and files, estimators, skeletons, placement."""
