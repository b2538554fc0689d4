"""Does the search beat chance within the recipe's own budget? Writes bench/results/wide_budget.json.

    python bench/wide_budget.py [--plan] [--summary] [--tiny]

What supernets rank best is networks that differ in their multiply-adds too (bench/ranking_quality.py): here the
searches have all of the benchmark's budget, not 3 % of it as in bench/comparison.py. RetinaNet, six seeds. How, and
what the options do, is told in bench/comparing.py.
"""

from comparing import CHANCE, DETNAS, LINEAR, PLAIN, Comparison
from evidence import TINY

IN_THE_WIDE_BUDGET = Comparison(
    name="wide_budget",
    within=("budget.flops_max=44M", "search.evaluations=60"),
    seeds={"retinanet": (0, 1) if TINY else (9, 10, 11, 18, 19, 20)},
    ways=(DETNAS, CHANCE, LINEAR, PLAIN),
)

if __name__ == "__main__":
    IN_THE_WIDE_BUDGET.main()
