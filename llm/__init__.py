"""Gristmill: raw text to a served language model, on one machine or on Kubernetes."""

from llm.telemetry import switch_off

__version__ = "0.1.0"

switch_off()  # here, since it must come before the first import of a library that reports
