"""Rules about TensorRT engines."""
