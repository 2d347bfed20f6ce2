"""Rules about Python models."""
