"""Component register: put a model with its lineage into MLflow's registry."""

from components.register.component import register

__all__ = ["register"]
