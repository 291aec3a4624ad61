"""Few-shot classifiers of head vectors, one per file."""
