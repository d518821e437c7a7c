"""Component export: export a checkpoint to Hugging Face and ONNX."""

from components.export.component import export

__all__ = ["export"]
