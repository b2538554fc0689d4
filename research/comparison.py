"""The paper's comparison at equal MACs, in miniature. Writes research/results/comparison.json.

    python -m research comparison [--plan] [--summary] [--tiny]

DetNAS, random search and DetNAS-scratch at equal evaluations, ClsNAS, three random networks, and all-`shuffle3`, each
with three seeds or more and both detectors, all within 3 % of the MACs of all-`shuffle3`. How, and what the
options do, is told in research/comparing.py.
"""

from research.comparing import CHANCE, CLASSIFICATION, DETNAS, PLAIN, RANDOM_SEARCH, SCRATCH, Comparison
from research.workspace import BASES, TINY

AT_EQUAL_MACS = Comparison(
    name="comparison",
    within=("budget.macs_min=36M", "budget.macs_max=38.2M", "search.evaluations=60"),
    # Of RetinaNet the first three told nothing apart.
    seeds=dict.fromkeys(BASES, (0, 1)) if TINY else {"retinanet": (0, 1, 2, 9), "fpn": (0, 1, 2)},
    ways=(DETNAS, PLAIN, CHANCE, RANDOM_SEARCH, SCRATCH, CLASSIFICATION),
)

if __name__ == "__main__":
    AT_EQUAL_MACS.main()
