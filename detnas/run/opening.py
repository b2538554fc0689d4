"""Opening a run: its recipe read, its directory claimed, its data opened, and everything checked before training."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from detnas.config import Recipe, load_recipe
from detnas.config.auto import is_budget_known
from detnas.config.beginnings import describe_beginnings
from detnas.data.run_data import find_run_data, stored_data
from detnas.data.splits import RunData, open_data
from detnas.distributed import comm
from detnas.distributed.device import choose_device
from detnas.models.weight_sources.spec import WeightSource
from detnas.run.auto import fit_auto
from detnas.run.checks import check_run, needs_weights
from detnas.run.context import Run
from detnas.run.store import check_recipe, draw_data, store_latencies, store_recipe, store_splits
from detnas.run.weights import store_weights
from detnas.rundir.directory import claim, find_stored_run, read_stored_run
from detnas.rundir.layout import DATA, PRETRAINED, RECIPE, StoredRun
from detnas.spaces import BudgetSampler
from detnas.training.data_parallel import check_batches
from detnas.utils.errors import UserError
from detnas.utils.progress import Progress
from detnas.utils.resource_errors import explain_disk_full


def read_recipe(recipe: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """`load_recipe` in the main process, broadcast to the others, which need not see a recipe's file."""
    tree = comm.broadcast_from_main(lambda: load_recipe(recipe, changes).model_dump(mode="json"))
    return Recipe.model_validate(tree)


def load_run(directory: Path) -> Recipe:
    """The recipe of the run in `directory`. Raises `UserError` if it holds none."""
    comm.broadcast_from_main(lambda: read_stored_run(directory).format)
    return read_recipe(directory / RECIPE)


@contextmanager
def open_run(
    recipe: Recipe,
    directory: Path,
    data: Path | None,
    progress: Progress,
    hold: Literal["alone", "shared", "not at all"] = "alone",
) -> Iterator[Run]:
    """Claim `directory` for a run of `recipe` until the block ends, and check all that can be checked before training.

    `data` is the folder of the data set. If it is not given, a run that was begun has its own, and a new one draws it.
    `hold` says how the directory is claimed: "alone", "shared" with other processes that claim it so, or "not at all",
    beside whoever has claimed it. Raises `UserError` for whatever cannot work.
    """
    with comm.raise_on_all_ranks():
        # What needs no data is refused before they are read.
        sampler = BudgetSampler(recipe.search_space(), recipe.cost_budget()) if is_budget_known(recipe) else None
        device = choose_device(recipe.device)
        check_batches(recipe)
    comm.check_same_on_all_ranks("device", device.type)
    with explain_disk_full(directory), ExitStack() as held:
        comm.broadcast_from_main(lambda: check_recipe(directory, recipe))
        if hold != "not at all":
            comm.broadcast_from_main(lambda: held.enter_context(claim(directory, shared=hold == "shared")))
        stored = _find_stored(directory)
        drawn = data is None and hold == "alone" and _is_drawn(directory, stored)
        if drawn:
            data = Path(comm.broadcast_from_main(lambda: draw_data(directory, recipe, progress.log)))
        with comm.raise_on_all_ranks():
            remedy = f"remove {data}, and the same command draws it again" if drawn and stored else None
            run_data = _open_data(directory, stored, recipe, data, remedy)
            for line in run_data.summary():
                progress.log(line)
        given, recipe = recipe, fit_auto(recipe, run_data.train)
        if given.detector.anchor_sizes == "auto":
            sizes = ", ".join(map(str, recipe.detector.anchor_sizes))
            progress.log(f"Anchor sizes that fit the boxes of the training images: {sizes}")
        if recipe != given:
            comm.broadcast_from_main(lambda: check_recipe(directory, recipe))
        with comm.raise_on_all_ranks():
            sampler = sampler or BudgetSampler(recipe.search_space(), recipe.cost_budget())
            current = Run(recipe, directory, run_data, sampler, device, progress)
            check_run(current)
        weights = _open_weights(current) if hold != "not at all" else None  # workers of a search need none
        fingerprint = run_data.fingerprint()
        comm.check_same_on_all_ranks(f"data set {data}", fingerprint)
        comm.broadcast_from_main(lambda: store_recipe(directory, recipe, run_data, fingerprint))
        comm.broadcast_from_main(lambda: store_latencies(directory, recipe.latencies()))
        comm.broadcast_from_main(lambda: store_splits(directory, run_data))
        if weights is not None:
            comm.broadcast_from_main(lambda: store_weights(directory, weights))
        beginnings = comm.broadcast_from_main(lambda: describe_beginnings(recipe, PRETRAINED.find(directory)))
        if beginnings:
            progress.log(beginnings)
        yield current


def _open_weights(run: Run) -> WeightSource | None:
    """The learned weights with which trainings of the run have yet to begin, if there are any."""
    if not needs_weights(run):
        return None
    with comm.raise_on_all_ranks():
        weights = run.weights
    assert weights is not None
    comm.check_same_on_all_ranks("pretraining.weights", weights.digest)
    return weights


def _find_stored(directory: Path) -> StoredRun | None:
    """`find_stored_run` in the main process, broadcast to the others, which need not see the directory."""
    facts = comm.broadcast_from_main(lambda: (stored := find_stored_run(directory)) and stored.model_dump())
    return StoredRun.model_validate(facts) if facts else None


def _is_drawn(directory: Path, stored: StoredRun | None) -> bool:
    """Whether the data set of a run is drawn into its directory, unless it is there: of a new one, or of one that was
    begun so, also somewhere else."""
    if stored is None:
        return True
    place = stored_data(directory, stored)
    return place.name == DATA and (place == directory / DATA or not comm.broadcast_from_main(place.exists))


def _open_data(
    directory: Path, stored: StoredRun | None, recipe: Recipe, data: Path | None, remedy: str | None
) -> RunData:
    """The data set of a run; `remedy` ends what is said of one that was whole when the run was begun."""

    def open_at(place: Path) -> RunData:
        return open_data(place, recipe.data, recipe.seed)

    if stored is None:
        assert data is not None  # given, or drawn
        return open_at(data)
    try:
        return find_run_data(directory, stored, data, open_at)
    except UserError as error:
        if remedy is None:
            raise
        raise UserError(f"{error}; or {remedy}") from None
