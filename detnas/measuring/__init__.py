"""What networks take on this device: every (block, op) timed in its place, the sums checked against whole networks."""
