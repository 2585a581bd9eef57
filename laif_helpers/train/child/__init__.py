"""Trains, in a process of its own; the notebook's kernel imports nothing of this package."""
