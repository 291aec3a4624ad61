"""Classify audio with a model and a classifier together."""
