"""Rules about inputs and outputs."""
