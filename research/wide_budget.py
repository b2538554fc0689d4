"""The comparison within the recipe's own budget. Writes research/results/wide_budget.json.

    python -m research wide-budget [--plan] [--summary] [--tiny]

Here the searches have all of the benchmark's budget, not 3 % of it as in research/comparison.py. RetinaNet; three seeds,
whose networks serve research/surrogate.py too, which judges more searches. How, and what the options do, is told in
research/comparing.py.
"""

from research.comparing import CHANCE, DETNAS, PLAIN, Comparison
from research.workspace import TINY

IN_THE_WIDE_BUDGET = Comparison(
    name="wide_budget",
    within=("budget.macs_max=44M", "search.evaluations=60"),
    seeds={"retinanet": (0, 1) if TINY else (9, 10, 11)},
    ways=(DETNAS, CHANCE, PLAIN),
)

if __name__ == "__main__":
    IN_THE_WIDE_BUDGET.main()
