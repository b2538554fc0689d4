"""The comparison within the recipe's own budget. Writes bench/results/wide_budget.json.

    python bench/wide_budget.py [--plan] [--summary] [--tiny]

Here the searches have all of the benchmark's budget, not 3 % of it as in bench/comparison.py. RetinaNet; three seeds,
whose networks serve bench/surrogate.py too, which judges more searches. How, and what the options do, is told in
bench/comparing.py.
"""

from comparing import CHANCE, DETNAS, PLAIN, Comparison
from evidence import TINY

IN_THE_WIDE_BUDGET = Comparison(
    name="wide_budget",
    within=("budget.macs_max=44M", "search.evaluations=60"),
    seeds={"retinanet": (0, 1) if TINY else (9, 10, 11)},
    ways=(DETNAS, CHANCE, PLAIN),
)

if __name__ == "__main__":
    IN_THE_WIDE_BUDGET.main()
