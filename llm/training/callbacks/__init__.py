"""Callbacks: what may be added to a training."""
