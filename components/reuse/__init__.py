"""Component reuse: find what a run in a cluster would make, before any of its steps."""

from components.reuse.component import reuse

__all__ = ["reuse"]
