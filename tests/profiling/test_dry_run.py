"""The dry run: it runs every stage, projects times correctly, and leaves no files."""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_recipe import small_recipe, write_recipe

import detnas.profiling.dry_run as module
import detnas.profiling.short_recipe as short_recipe
import detnas.profiling.timed_progress as timed_progress
from detnas.cli.main import main
from detnas.config import Recipe, load_recipe, recipe_names
from detnas.data.splits import open_data
from detnas.profiling.dry_run import DryRun, choose_batch_size, dry_run
from detnas.profiling.short_recipe import representative_baselines, shorten, shorten_training, steps_to_run, with_images
from detnas.profiling.workload import images_per_stage, split_sizes
from detnas.run import context, search_stage
from detnas.run.context import Run
from detnas.run.pipeline import STAGES
from detnas.rundir.layout import CANDIDATES, Candidate
from detnas.spaces import BudgetSampler
from detnas.training.schedules import learning_rate
from detnas.utils.errors import UserError
from detnas.utils.progress import Progress

CPU = torch.device("cpu")


@pytest.fixture
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Whether the folder for temporary files and the current folder are empty."""
    folders = [tmp_path / "temporary", tmp_path / "current"]
    for folder in folders:
        folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folders[0]))
    monkeypatch.chdir(folders[1])
    return lambda: not any(any(folder.iterdir()) for folder in folders)


# The whole


def test_the_command_runs_every_stage_and_leaves_nothing(
    nothing_left: Callable[[], bool],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", baselines=["shuffle3"])
    monkeypatch.setattr(sys, "argv", ["detnas", "run", str(recipe), "--dry-run"])
    with pytest.raises(SystemExit) as caught:
        main()
    lines = capsys.readouterr().out.splitlines()
    assert not caught.value.code and nothing_left()
    rows = [line[:24].strip() for line in lines[2:]]
    networks = [f"pretrain/{name}" for name in ("winner", "shuffle3")]
    networks += [row for name in ("winner", "shuffle3") for row in (f"finetune/{name}", f"evaluate {name}")]
    assert rows[: rows.index("total")] == ["supernet-pretrain", "supernet-finetune", "search", *networks, "report"]
    assert "embedded" in lines[0] and "6 and 8 images" in lines[-1]


def test_synthetic_images_without_data(nothing_left: Callable[[], bool]) -> None:
    recipe = small_recipe(
        "fpn",
        data={"train": "trainval.json", "search_fraction": 0.01},
        pretraining__source="folder",
        pretraining__folder="/nowhere",
        search__fitness="classification",  # ClsNAS: the supernet never detects
        baselines=[],
    )
    rows = {row.name: row for row in dry_run(recipe, None, Progress(quiet=True))}
    final = ["pretrain/winner", "finetune/winner", "evaluate winner", "report"]
    assert nothing_left() and list(rows) == ["supernet-pretrain", "search", *final]
    assert all(row.projected > 0 and row.seconds > 0 and row.memory > 50e6 for row in rows.values())
    # The recipe's batches and steps are small enough for any machine.
    assert rows["supernet-pretrain"].batch_size == 4 and rows["finetune/winner"].batch_size == 2
    assert rows["search"].iterations == 3 and rows["finetune/winner"].iterations == 5
    assert not Path("runs").exists()


def test_real_data(nothing_left: Callable[[], bool], blocks: Path) -> None:
    recipe = small_recipe(data__shapes=None, pretraining__source="none", baselines=[], search__images=5)
    said: list[str] = []
    progress = Progress(quiet=True)
    progress.log = said.append  # type: ignore[method-assign]
    rows = dry_run(recipe, blocks, progress)
    assert nothing_left() and str(blocks) in said[0] and any("taken from 6 and 8" in line for line in said)
    assert [row.name for row in rows] == ["supernet-finetune", "search", "finetune/winner", "evaluate winner", "report"]


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyboardInterrupt(), UserError("bad weather")])
def test_nothing_is_left_after_an_error_in_a_stage(
    error: BaseException, nothing_left: Callable[[], bool], blocks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(run: Run) -> None:
        (run.directory / "search").mkdir()
        raise error

    monkeypatch.setitem(STAGES, "search", fails)
    recipe = small_recipe(pretraining__source="none", supernet_finetune__steps=10)
    with pytest.raises(type(error)) as caught:
        dry_run(recipe, blocks, Progress(quiet=True))
    assert nothing_left()
    if isinstance(error, UserError):
        assert str(caught.value) == "search: bad weather"
    elif isinstance(error, RuntimeError):
        assert any("search" in note for note in caught.value.__notes__)


@pytest.mark.parametrize(
    ("stage", "field"),
    [
        ("supernet-finetune", "supernet_finetune.batch_size = 2"),
        ("search", r"search.batch_size = \d, search.recalibration_batch_size = 2"),
    ],
)
def test_too_little_memory_is_said_with_what_to_lower(
    stage: str, field: str, blocks: Path, nothing_left: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any, **names: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    where, name = (search_stage, "search") if stage == "search" else (context, "train")
    monkeypatch.setattr(where, name, fails)
    with pytest.raises(UserError, match=rf"^{stage}: out of memory with {field}; lower it"):
        dry_run(small_recipe(pretraining__source="none"), blocks, Progress(quiet=True))
    assert nothing_left()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--out", "here"], "--out here: a dry run leaves no files"),
        (["--data", "missing"], "--data missing: no such folder"),
        (["--set", "budget.macs_max=1"], "budget.macs"),
    ],
)
def test_what_cannot_work_is_refused(
    words: list[str],
    expected: str,
    nothing_left: Callable[[], bool],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["detnas", "run", "shapes-quick", "--dry-run", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    error = capsys.readouterr().err
    assert caught.value.code == 2 and error.startswith("detnas: ") and error.count("\n") == 1 and expected in error
    assert nothing_left()


# The recipe cut short


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_cut_short_is_a_recipe(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_recipe, "write_synthetic_data", lambda folder, classification: None)
    recipe = load_recipe(name)
    short, _, _ = with_images(shorten(recipe), None, tmp_path)
    assert Recipe.model_validate(short.model_dump(mode="json")) == short
    for field in ("detector", "space", "budget"):
        assert getattr(short, field) == getattr(recipe, field)
    assert short.pretraining.image_size == recipe.pretraining.image_size
    assert short.supernet_pretrain.steps == 2 and short.search.evaluations == 3


def test_a_training_cut_short_begins_as_the_whole_does() -> None:
    whole = small_recipe(supernet_finetune__batch_size=16, supernet_finetune__warmup=8).supernet_finetune
    short = shorten_training(whole, batch_size=99, steps=2)
    assert (short.steps, short.batch_size, short.warmup) == (2, 16, 0)
    assert learning_rate(short, 0) == learning_rate(whole, 0) < whole.lr
    smaller = shorten_training(whole, batch_size=4, steps=99)
    assert (smaller.steps, smaller.batch_size) == (20, 4) and smaller.lr < 1e-6


def test_batches_that_workers_have_prepared_ahead_are_not_measured() -> None:
    settings = small_recipe(finetune__workers=8).finetune
    assert steps_to_run(settings) == 1 + 2 * 8 + 8
    assert steps_to_run(small_recipe().finetune) == 1 + 4


# The sums


def test_images_of_a_recipe() -> None:
    recipe = small_recipe(search__images=5)
    assert split_sizes(recipe) == (6, 8)  # a quarter of 24 embedded images
    assert images_per_stage(recipe, 6, 8) == {
        "supernet-pretrain": 20 * 4,
        "supernet-finetune": 20 * 2,
        "search": 6 * (2 * 2 + 5),
        "finals": 0,
        "pretrain": 10 * 4,
        "finetune": 10 * 2,
        "evaluate": 8,
    }
    assert images_per_stage(small_recipe(pretraining__source="none"), 6, 8)["pretrain"] == 0


def test_sizes_that_a_recipe_tells() -> None:
    real: dict[str, Any] = {"data__shapes": None, "search__images": 500}
    assert split_sizes(small_recipe(data__shapes=None)) == (1000, 1000)
    assert split_sizes(small_recipe(**real)) == (500, 500)
    assert split_sizes(small_recipe(**real, data__search_images=5000)) == (5000, 5000)
    accuracy = small_recipe(**real, data__search_images=700, search__fitness="classification")
    assert split_sizes(accuracy) == (500, 700)
    assert split_sizes(small_recipe(data__search_images=4)) == (4, 8)


@pytest.mark.parametrize(
    ("seconds", "memory", "available", "batch_size"),
    [(0.5, 1e9, None, 20), (0.5, 1e9, 10e9, 7), (0.001, 1.0, 10e9, 64), (7.0, 1e9, 10e9, 2), (0.5, 9e9, 10e9, 2)],
)
def test_the_batch_that_a_cpu_is_given(seconds: float, memory: float, available: int | None, batch_size: int) -> None:
    assert choose_batch_size(seconds, memory, available, least=2, most=64) == batch_size


@dataclass
class SimulatedStages:
    """Stages that take known times on a simulated clock, without any training."""

    now: float = 0.0

    def training(self, name: str, settings: Any, run: Run, per_image: float) -> None:
        """The first step takes 5 seconds more, the checkpoint 3."""
        with run.progress.task(name, settings.steps) as bar:
            for step in range(settings.steps):
                self.now += settings.batch_size * per_image + (5 if step == 0 else 0)
                bar.advance()
            self.now += 3

    def supernet_pretrain(self, run: Run) -> None:
        self.training("supernet-pretrain", run.recipe.supernet_pretrain, run, per_image=0.1)

    def supernet_finetune(self, run: Run) -> None:
        self.training("supernet-finetune", run.recipe.supernet_finetune, run, per_image=1.9)

    def search(self, run: Run) -> None:
        """A second an image; half a second for the study; the first candidate takes 4 seconds more."""
        settings = run.recipe.search
        rows = []
        with run.progress.task("search", settings.evaluations) as bar:
            for candidate in range(settings.evaluations):
                images = len(run.data.search) + settings.recalibration_batches * settings.recalibration_batch_size
                rows.append(self.candidate(candidate, images + (4.0 if candidate == 0 else 0.0)))
                self.now += rows[-1].seconds + 0.5
                bar.advance()
        CANDIDATES.write(run.directory / "search", rows)

    def candidate(self, number: int, seconds: float) -> Candidate:
        return Candidate(
            number=number,
            generation=0,
            origin="random",
            architecture="00 00 0000 00",
            macs=1,
            params=1,
            fitness=0.5,
            metric="mAP",
            AP50=None,
            seconds=seconds,
        )

    def finetune(self, run: Run) -> None:
        for name in ("winner", *run.recipe.baselines):
            done = run.directory / "finetune" / name
            if not done.exists():
                done.mkdir(parents=True)
                self.training(name, run.recipe.finetune, run, per_image=0.2 if name == "winner" else 0.39)
                with run.progress.task(f"evaluate {name}", len(run.data.val)) as bar:
                    for start in range(0, len(run.data.val), run.recipe.search.batch_size):
                        at_a_time = min(run.recipe.search.batch_size, len(run.data.val) - start)
                        self.now += 0.25 * at_a_time
                        bar.advance(by=at_a_time)

    def stages(self) -> dict[str, Callable[[Run], None]]:
        return {
            "supernet-pretrain": self.supernet_pretrain,
            "supernet-finetune": self.supernet_finetune,
            "search": self.search,
            "finetune": self.finetune,
        }


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> SimulatedStages:
    simulated = SimulatedStages()
    monkeypatch.setattr(timed_progress, "time", SimpleNamespace(perf_counter=lambda: simulated.now))
    monkeypatch.setattr(module, "available_memory", lambda: None)
    monkeypatch.setattr(module, "STAGES", simulated.stages())
    return simulated


def run_stages(simulated: SimulatedStages, recipe: Recipe, device: torch.device, data: Path, directory: Path) -> DryRun:
    sampler = BudgetSampler(recipe.search_space(), recipe.cost_budget())
    run_data = open_data(data, recipe.data, recipe.seed)
    run = Run(shorten(recipe), directory, run_data, sampler, device, Progress(quiet=True))
    finished = DryRun(recipe, run, has_real_data=False, log=lambda text: None)
    for stage in simulated.stages():
        finished.run_stage(stage)
    return finished


LONG = {
    "data__shapes": None,
    "supernet_pretrain__steps": 1000,
    "supernet_pretrain__batch_size": 16,
    "supernet_pretrain__checkpoint_every": 100,
    "supernet_finetune__steps": 2000,
    "supernet_finetune__batch_size": 16,
    "supernet_finetune__checkpoint_every": 500,
    "supernet_finetune__workers": 6,
    "finetune__steps": 100,
    "finetune__batch_size": 10,
    "finetune__checkpoint_every": 50,
    "search__evaluations": 30,
    "search__images": 200,
    "search__recalibration_batches": 50,
    "search__recalibration_batch_size": 2,
    "baselines": ["random"],
}


def test_one_random_draw_stands_for_all() -> None:
    assert representative_baselines(("shuffle3", "random3", "resnet50", "random", "random2")) == {
        "shuffle3": 1,
        "random3": 3,
        "resnet50": 1,
    }
    assert representative_baselines(()) == {}


def test_the_projection_adds_up(simulated: SimulatedStages, blocks: Path, tmp_path: Path) -> None:
    drawn = ["random", "random2", "random3", "random4", "random5"]
    finished = run_stages(simulated, small_recipe(**LONG | {"baselines": drawn}), CPU, blocks, tmp_path)
    found = {row.name: (row.batch_size, row.iterations, row.seconds, row.projected) for row in finished.rows}
    expected = {
        # The whole batch fits: 16 images in 1.6 s; five steps; ten checkpoints of 3 s.
        "supernet-pretrain": (16, 5, 1.6, 16_000 * 0.1 + 30),
        # Five images in 9.5 s; two steps; four checkpoints.
        "supernet-finetune": (5, 2, 9.5, 32_000 * 1.9 + 12),
        # Six images of the search split after two batches of two; the recipe evaluates 200 and recalibrates on 100.
        "search": (4, 3, 10.5, 30 * (300 * 1.0 + 0.5)),
        "finetune/winner": (10, 5, 2.0, 1000 * 0.2 + 6),
        # Four at a time; as large as the search split, for want of another number.
        "evaluate winner": (4, 2, 1.0, 200 * 0.25),
        "finetune/random": (10, 5, 3.9, 5 * (1000 * 0.39 + 6)),
        "evaluate random": (4, 2, 1.0, 5 * 200 * 0.25),
    }
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(values), name
    assert any("random represents the 5" in note for note in finished.notes())
    assert any("smaller" in note for note in finished.notes())


def test_a_gpu_takes_the_recipe_batch_size(
    simulated: SimulatedStages, blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = SimpleNamespace(reset=lambda: None, peak=lambda: 10**9, can_reset=True)
    monkeypatch.setattr(module, "PeakMemory", lambda device: memory)
    finished = run_stages(simulated, small_recipe(**LONG), torch.device("cuda"), blocks, tmp_path)
    rows = {row.name: row for row in finished.rows}
    assert all(row.batch_size == row.recipe_batch_size and row.memory == 10**9 for row in finished.rows)
    # One to warm up, two for each of six workers, and a round of theirs.
    assert rows["supernet-finetune"].iterations == 1 + 12 + 6
    assert rows["supernet-finetune"].projected == pytest.approx(32_000 * 1.9 + 12)
    assert not any("smaller" in note for note in finished.notes())
