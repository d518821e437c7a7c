"""Component gate: compare a checkpoint's scores with the champion's."""

from components.gate.component import gate

__all__ = ["gate"]
