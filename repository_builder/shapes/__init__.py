"""Optimization profiles: their types, their validity, the proof that they cover what is served, and their choice.

A leaf package: it knows tensors and errors, and nothing of specs, TensorRT or Triton's files.
"""
