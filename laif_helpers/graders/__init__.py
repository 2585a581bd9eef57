"""Graders: what a response says, and whether it is right. One file per kind of answer; each reads text alone."""
