"""Rules about model warm-up."""
