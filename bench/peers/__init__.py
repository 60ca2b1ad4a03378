"""Lamella and other frameworks side by side: ``python -m bench.peers``."""
