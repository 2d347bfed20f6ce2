"""Triton's side of the result: config.pbtxt, ensembles, golden files, manifest, and the tree on disk."""
