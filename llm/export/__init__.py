"""Export: Hugging Face, ONNX and TensorRT, each compared with the checkpoint."""
