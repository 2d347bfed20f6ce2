"""Rules about plugin libraries."""
