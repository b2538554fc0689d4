"""YOLO data sets."""
