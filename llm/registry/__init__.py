"""The model registry: versions in MLflow, and the aliases champion, challenger and previous."""

from llm.registry.aliases import promote, rollback
from llm.registry.lookup import RegisteredModel, champion
from llm.registry.versions import ModelVersion, register

__all__ = ["ModelVersion", "RegisteredModel", "champion", "promote", "register", "rollback"]
