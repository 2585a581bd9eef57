"""Reads answers that a run or another tool recorded, and joins them with the items they answer."""
