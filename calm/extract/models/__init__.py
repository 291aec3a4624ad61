"""Frozen models: loading them, their inputs, their heads."""
