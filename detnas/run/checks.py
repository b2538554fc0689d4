"""What is checked of a run before any training."""

from detnas.config.beginnings import begins_with_weights
from detnas.data.classification import ClassificationSet
from detnas.data.images import check_sizes
from detnas.distributed import comm
from detnas.run.context import Run
from detnas.rundir.layout import FINETUNE, SEARCH, SEARCH_DONE, SUPERNET_FINETUNE, SUPERNET_PRETRAIN, WINNER
from detnas.search.evaluators.inputs import VALUE_BYTES
from detnas.search.study.storage import check_storage
from detnas.utils.errors import UserError
from detnas.utils.memory import available_memory

OPTIMIZER_VALUES = {"sgd": 1, "adamw": 2}
"""Values that an optimizer keeps for each parameter."""


def check_run(run: Run) -> None:
    """Raise `UserError` for what would otherwise fail only once training has begun."""
    search = run.recipe.search
    if run.recipe.pretrains:
        ClassificationSet(run.recipe, run.data)
    search.evaluator.load().check(run)
    for stage in (SUPERNET_PRETRAIN, SUPERNET_FINETUNE):
        run.paths(stage)
    if run.device.type == "cpu" and not run.is_done(run.trained_supernet):
        check_memory(run)
    for part in (run.data.train, run.data.val):
        check_sizes(part.files, part.sizes, run.recipe.detector.max_size)
    if comm.is_main_process() and search.storage and not SEARCH_DONE.exists(run.directory / SEARCH):
        check_storage(search.storage)


def needs_weights(run: Run) -> bool:
    """Whether one of the run's stages has a training that has yet to begin with learned weights."""
    if run.recipe.pretraining.weights is None:
        return False
    names = (name for name in (WINNER, *run.recipe.baselines) if begins_with_weights(run.recipe, name))
    stages = [SUPERNET_FINETUNE, *(f"{FINETUNE}/{name}" for name in names)]
    return any(run.begins(stage) and not run.is_done(stage) for stage in stages)


def check_memory(run: Run) -> None:
    """Refuse a supernet whose weights and optimizer state, and a checkpoint of them, exceed the available memory."""
    params = sum(sum(costs.values()) for costs in run.space.cost_table().of("params"))
    settings = getattr(run.recipe, run.trained_supernet.replace("-", "_"))
    state = params * VALUE_BYTES * (1 + OPTIMIZER_VALUES[settings.optimizer])
    needed, available = 2 * state, available_memory()  # a checkpoint is written to memory before it is written to disk
    if available is not None and needed > available:
        raise UserError(
            f"space {run.space.name}: training its supernet takes {needed / 1e9:,.1f} GB for {params / 1e6:,.0f}M "
            f"parameters alone, and {available / 1e9:,.1f} GB are available; lower space.width, channels or repeats"
        )
