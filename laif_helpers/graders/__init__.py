"""Grades responses: reads the answer, decides whether it is right. One file per kind of answer; each sees text alone."""
