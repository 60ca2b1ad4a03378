"""The metrics behind `lamella.metrics`, by what they are made of."""
