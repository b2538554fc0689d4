"""Evaluation with several processes: the main process chooses a candidate, and all of them evaluate it."""

from collections.abc import Callable

from detnas.distributed import comm
from detnas.search.evaluators.base import Evaluator, Scores
from detnas.spaces import Architecture


class DistributedEvaluator:
    """Wraps an evaluator for the main process: each call makes every process evaluate the same architecture."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator

    def __call__(self, architecture: Architecture) -> Scores:
        comm.broadcast_from_main(lambda: str(architecture))
        return self.evaluator(architecture)


def search_with_all_processes(evaluator: Evaluator, search: Callable[[Evaluator], object]) -> None:
    """Call `search` in the main process, while all the others evaluate the candidates that it asks for."""
    if not comm.is_main_process():
        while text := comm.broadcast_from_main(str):
            evaluator(Architecture.parse(text))
        return
    search(DistributedEvaluator(evaluator))
    comm.broadcast_from_main(str)  # an empty text: there are no more candidates
