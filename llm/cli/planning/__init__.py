"""Verbs that say what a training takes before it starts."""
