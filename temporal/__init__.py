"""Windows over time, their fusion, noise, and chunked execution within a memory budget."""
