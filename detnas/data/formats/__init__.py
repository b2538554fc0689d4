"""Formats of detection data sets: how their files are found and read."""
