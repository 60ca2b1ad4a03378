"""Data loading, and what else is not a model."""
