"""The pods of a run's steps: their logs, what keeps them from starting or takes them away, a check before a run."""
