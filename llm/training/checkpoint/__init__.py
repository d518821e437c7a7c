"""Checkpoints of a training in progress: complete or absent."""
