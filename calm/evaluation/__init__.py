"""Few-shot episodes, scores of a classifier, and the comparison of several classifiers."""
