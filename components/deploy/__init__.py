"""Component deploy: build the Triton model repository of a registered version."""

from components.deploy.component import deploy

__all__ = ["deploy"]
