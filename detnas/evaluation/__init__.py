"""How good a detector is on a data set."""
