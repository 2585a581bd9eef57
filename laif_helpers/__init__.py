"""Helps the numbered notebooks, in which a language model learns from its own mistakes.

Importing this package loads nothing heavy; each stage module imports torch, transformers or umap only inside
the functions that need them.
"""

__version__ = "0.1.0"
