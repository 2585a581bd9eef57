"""Runs a recipe's stages: planned, started where the executor says, recorded in the manifest."""
