"""Rules about instance groups."""
