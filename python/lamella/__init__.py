"""Lamella: deep learning in one small wheel."""
