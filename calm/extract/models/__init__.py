"""Frozen models: loading, model inputs and attention heads."""
