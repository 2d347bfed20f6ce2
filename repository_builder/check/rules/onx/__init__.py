"""Rules about ONNX graphs and the ONNX Runtime backend."""
