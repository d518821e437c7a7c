"""Masks of the training: one module for each that `training.mask.name` may choose."""
