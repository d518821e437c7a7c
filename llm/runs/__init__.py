"""Runs: their folders, and the list of them."""
