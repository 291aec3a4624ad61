"""calm."""
