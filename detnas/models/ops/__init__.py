"""The ops that a block can be."""
