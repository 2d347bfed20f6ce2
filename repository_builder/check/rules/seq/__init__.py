"""Rules about sequence batching."""
