"""Tracking: the event log of a run, and the sinks that it feeds."""
