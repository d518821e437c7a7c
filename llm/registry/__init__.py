"""The model registry: versions in MLflow, and the aliases champion, challenger and previous."""

from llm.registry.aliases import forget_champion, promote, rollback
from llm.registry.lookup import RegisteredModel, champion
from llm.registry.versions import ModelVersion, register

__all__ = ["ModelVersion", "RegisteredModel", "champion", "forget_champion", "promote", "register", "rollback"]
