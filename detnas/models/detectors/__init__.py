"""Detectors around a backbone."""
