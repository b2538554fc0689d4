"""Deployment: a detector or its backbone in the formats of other runtimes, checked against the eager model."""
