"""Answers that a run or another tool recorded: read, and joined with the items they answer."""
