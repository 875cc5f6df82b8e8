"""Attacks on the program with seeds: damaged and hostile inputs, kills, neighbours, threads."""
