"""Losses: one module for each that `training.loss.name` may choose."""
