"""A training by arithmetic: the memory of a rank, FLOPs, time and money, without torch and without building anything.

The rehearsal (`llm.training.rehearsal`) is the reference: a test compares the two.
"""
