"""Bits per byte: which text is scored, in which windows, and what gzip and xz need for the same text."""
