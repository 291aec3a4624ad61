"""How good a classifier is, and how it compares with others."""
