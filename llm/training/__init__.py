"""Training: one trainer, two backends, and checkpoints that are complete or absent."""
