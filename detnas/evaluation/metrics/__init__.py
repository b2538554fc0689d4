"""Scores of detections, rank correlation, Pareto fronts."""
