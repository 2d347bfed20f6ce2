"""Reading, diagnosing and repairing ONNX graphs. `onnx` and the runtimes are imported inside functions only."""
