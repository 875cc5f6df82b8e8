"""Work folders: what a long run keeps on disk, so that a kill costs minutes and not hours."""
