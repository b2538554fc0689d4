"""Rehearsing a recipe before anybody waits for it."""
