"""The search on a trained supernet."""
