"""Grades responses: reads the answer and decides whether it is right. One file per kind of answer."""
