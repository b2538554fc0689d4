"""A mobile space of eight blocks, two stages of which share a resolution, and an architecture with `skip` blocks."""

from detnas.spaces import Architecture, SearchSpace
from detnas.spaces.space import MOBILE_OPS

SPACE = SearchSpace(
    "toy-mobile", 8, (8, 12, 16, 20, 24), (2, 1, 2, 2, 1), MOBILE_OPS, (2, 2, 2, 1, 2), 4, "efficientnet-lite"
)
ARCHITECTURE = Architecture.parse("04 1 24 14 3")
