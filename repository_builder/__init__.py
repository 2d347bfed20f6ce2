"""From a trained model to a complete, verified model repository for NVIDIA Triton."""

__version__ = "0.1.0"
