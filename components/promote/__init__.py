"""Component promote: make a registered version the champion."""

from components.promote.component import promote

__all__ = ["promote"]
