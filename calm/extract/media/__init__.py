"""Clips: where they are, and what is heard and seen of them."""
