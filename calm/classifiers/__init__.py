"""Few-shot classifiers of head vectors, one a file."""
