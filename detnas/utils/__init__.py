"""Helpers for every package: errors, files, seeds, progress, signals, memory."""
