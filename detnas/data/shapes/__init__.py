"""The embedded data set: drawn shapes."""
