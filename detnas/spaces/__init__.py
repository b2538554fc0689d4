"""Architectures, search spaces, costs and budgets. Independent of torch."""

from detnas.spaces.architecture import PAPER_OPS, Architecture
from detnas.spaces.block import Block
from detnas.spaces.budget import COSTS, Budget, BudgetSampler
from detnas.spaces.cost import Cost, CostTable, DetectorParts, Size
from detnas.spaces.latency import LatencyTable, read_latencies
from detnas.spaces.named import search_space
from detnas.spaces.space import SearchSpace

__all__ = [
    "COSTS",
    "PAPER_OPS",
    "Architecture",
    "Block",
    "Budget",
    "BudgetSampler",
    "Cost",
    "CostTable",
    "DetectorParts",
    "LatencyTable",
    "SearchSpace",
    "Size",
    "read_latencies",
    "search_space",
]
