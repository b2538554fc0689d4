"""What the categories of data sets and of weights files may be."""

MOST_CATEGORIES = 20_000
"""Scoring takes memory for each: about 200 KB."""
MOST_ID = 10**200
"""Of an image or category, which any number below that may be, also below 0."""
MOST_LETTERS = 256
"""Of the name of a category."""
