"""Schedules of the learning rate: one module for each that `training.schedule.name` may choose."""
