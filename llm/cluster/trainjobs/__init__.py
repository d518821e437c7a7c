"""Trainings on a pool of a cluster: a TrainJob is created or adopted, followed to its end, and deleted."""
