"""Clips through a model."""
