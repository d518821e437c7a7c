"""Processes: signals that stop them, children that end with them, memory that they use."""
