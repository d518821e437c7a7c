"""The steps, one module each with its `STEP`: what it reads and makes, and the call into its area.

Areas are imported inside the functions: a step loads what it needs and nothing else, and the list of the steps nothing.
"""
