"""Watching a training's pods: how they stand, what is in their way, what they write, and why they failed."""
