"""Kernels of our own, in Triton: a layer takes one only if the configuration names it."""
