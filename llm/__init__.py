"""Gristmill: raw text to a served language model, on one machine or on Kubernetes."""

__version__ = "0.1.0"
