"""Queues of Kueue: what they hold, whether a training can ever fit, and where a training stands in one."""
