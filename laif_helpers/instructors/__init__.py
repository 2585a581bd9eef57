"""Instructors: each answers a request's chat messages with a diagnosis and numbered samples, in one reply format.

``llm`` asks an OpenAI-compatible endpoint; ``scripted`` (practice world) and ``symbolic`` (GSM8K) need no key.
"""
