"""Annotation formats: where their files lie and how they are read."""
