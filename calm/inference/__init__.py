"""A model and a classifier together: from audio to labels."""
