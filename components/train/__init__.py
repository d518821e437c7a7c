"""Component train: train the model."""

from components.train.component import train

__all__ = ["train"]
