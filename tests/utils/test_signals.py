"""Requests to stop: the training is saved, the command that continues is printed, and the result does not change."""

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing import active_children
from pathlib import Path

import pytest
from paths import ROOT
from small_recipe import assert_same, checkpoint, write_recipe

from detnas.data.batches import iterate_batches
from detnas.data.samples import Key
from detnas.run.pipeline import run
from detnas.utils import signals
from detnas.utils.signals import StopRequested

ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def ask(number: int = signal.SIGTERM) -> None:
    signal.raise_signal(number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_at_once_where_nothing_is_in_the_way(number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(StopRequested) as caught, signals.handle_signals():
        ask(number)
    assert caught.value.signal == number
    assert signal.getsignal(number) is before and not signals.is_stop_requested()


def test_a_step_is_finished_first() -> None:
    done = []
    with pytest.raises(StopRequested), signals.handle_signals(), signals.defer_sigterm():
        assert not signals.is_stop_requested()
        ask()
        done.append("step")
        assert signals.is_stop_requested()
    assert done == ["step"] and not signals.is_stop_requested()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_stops_at_once(second: int) -> None:
    with pytest.raises(StopRequested) as caught, signals.handle_signals(), signals.defer_sigterm():
        ask()
        ask(second)
        pytest.fail("still here")
    assert caught.value.signal == second


def test_ctrl_c_waits_for_no_step() -> None:
    with pytest.raises(StopRequested), signals.handle_signals(), signals.defer_sigterm():
        ask(signal.SIGINT)
        pytest.fail("still here")


# Commands

COMMANDS = """
import json, os, signal, sys, traceback
import sqlalchemy, torch
import detnas.cli.main, detnas.run.networks, detnas.run.pipeline, detnas.run.opening, detnas.profiling.dry_run
from detnas.training import loop

torch.set_num_threads(1)


def run(words, where, count, signals):
    # Sends itself `signals` at the `count`-th call of what `where` names.
    module, name = {
        "data": (detnas.run.opening, "open_data"),
        "train": (loop, "train_step"),
        "save": (loop, "save_checkpoint"),
        "search": (detnas.search.evaluators.detection.DetectionEvaluator, "__call__"),
        "evaluate": (detnas.run.networks, "evaluate"),
    }[where]
    work = getattr(module, name)

    def counted(*args, **names):
        nonlocal count
        count -= 1
        if count == 0:
            for number in signals:
                # To the whole group, as schedulers and terminals do.
                os.killpg(0, number)
        return work(*args, **names)

    setattr(module, name, counted)
    sys.argv = ["detnas", *words]
    detnas.cli.main.main()


for line in sys.stdin:
    words, where, count, signals, errors = json.loads(line)
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        for number in (1, 2):
            os.dup2(os.open(f"{errors}.{number}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
        status = 1
        try:
            run(words, where, count, signals)
            status = 0
        except SystemExit as left:
            status = left.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

Sender = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def sender(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sender]:
    """Runs a command in a process of its own, which sends itself signals; its status and standard error."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMANDS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    errors = tmp_path_factory.mktemp("errors") / "said"

    def send(words: list[object], where: str, count: int, *signals: int) -> tuple[int, str]:
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps([[str(word) for word in words], where, count, signals, str(errors)]) + "\n")
        process.stdin.flush()
        status = int(process.stdout.readline())
        return status, errors.with_suffix(".2").read_text()

    yield send
    assert process.stdin
    process.stdin.close()
    assert process.wait() == 0


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trainings of one stage's kind, two of the other's, and a search of two candidates."""
    changes = {"baselines": [], "search__evaluations": 2, "supernet_finetune__steps": 10, "pretrain__steps": 3}
    return write_recipe(
        tmp_path_factory.mktemp("recipe") / "small recipe.yaml",
        **changes,
        supernet_pretrain__ema_decay=0.9,
        supernet_pretrain__workers=1,
        finetune__steps=3,
        pretrain__warmup=0,
        finetune__warmup=0,
    )


@pytest.fixture(scope="module")
def undisturbed(recipe: Path, blocks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(str(recipe), tmp_path_factory.mktemp("undisturbed") / "run", blocks)


def rows(directory: Path) -> list[dict[str, object]]:
    found = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second", "memory_mb")} for row in found]


def how_to_continue(words: list[object]) -> str:
    command = shlex.join(["detnas", *map(str, words)])
    return f"detnas: stopped; finished work is saved; continue with: {command}\n"


def test_a_scheduler_stops_a_training_which_is_saved_first(
    recipe: Path, blocks: Path, tmp_path: Path, sender: Sender
) -> None:
    words: list[object] = ["run", recipe, "--out", tmp_path / "a run", "--data", blocks]
    directory = tmp_path / "a run" / "supernet-pretrain"
    for count, step in ((6, 6), (1, 7)):
        assert sender(words, "train", count, signal.SIGTERM) == (0, how_to_continue(words))
        saved = checkpoint(directory)
        assert saved["step"] == len(saved["window"]) == step


@pytest.mark.slow
def test_a_scheduler_stops_a_run_at_many_places_and_it_ends_the_same(
    recipe: Path, blocks: Path, undisturbed: Path, tmp_path: Path, sender: Sender
) -> None:
    out = tmp_path / "stopped run"
    words = ["run", recipe, "--out", out, "--data", blocks]
    places = [("data", 1), ("train", 1), ("train", 6), ("train", 8), ("save", 1), ("train", 9), ("search", 2),
              ("train", 2), ("evaluate", 1)]  # fmt: skip
    for where, count in places:
        status, said = sender(words, where, count, signal.SIGTERM)
        assert status == 0, said
        assert said == how_to_continue(words)
        assert not list(out.rglob(".*.tmp"))
    status, said = sender(words, "evaluate", 99)
    assert status == 0 and said == ""
    for training in ("supernet-pretrain", "supernet-finetune", "pretrain/winner", "finetune/winner"):
        assert_same(checkpoint(out / training), checkpoint(undisturbed / training))
        assert rows(out / training) == rows(undisturbed / training)
    for name in ("detector.safetensors", "finetune/winner/evaluation.json", "finetune/winner/detections.json"):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes()


@pytest.mark.parametrize(
    ("signals", "status", "steps"),
    [((signal.SIGINT,), 130, 0), ((signal.SIGTERM, signal.SIGINT), 130, 0), ((signal.SIGTERM, signal.SIGTERM), 0, 0)],
)
def test_ctrl_c_and_a_second_signal_stop_in_the_middle_of_a_step(
    signals: tuple[int, ...], status: int, steps: int, recipe: Path, blocks: Path, tmp_path: Path, sender: Sender
) -> None:
    words = ["run", recipe, "--out", tmp_path / "run", "--data", blocks]
    found, said = sender(words, "train", 3, *signals)
    assert found == status
    assert said.count("\n") == 1 and said.startswith(
        "detnas: stopped; finished work is saved; continue with: detnas run "
    )
    directory = tmp_path / "run" / "supernet-pretrain"
    assert not list(directory.glob("checkpoint*")) and not list(directory.glob(".*.tmp"))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_dry_run_that_is_stopped_leaves_nothing(
    number: int, status: int, recipe: Path, blocks: Path, sender: Sender
) -> None:
    before = set(Path(tempfile.gettempdir()).glob("detnas-dry-run-*"))
    found, said = sender(["run", recipe, "--dry-run", "--data", blocks], "train", 2, number)
    assert (found, said) == (status, "detnas: stopped\n")
    assert set(Path(tempfile.gettempdir()).glob("detnas-dry-run-*")) <= before


class Samples:
    def __len__(self) -> int:
        return 50

    def __getitem__(self, key: Key) -> int:
        return key[0]


def test_a_process_that_prepares_images_outlives_a_signal_and_not_its_training() -> None:
    """A signal to it would end the training in the middle of a step; and it must not be left behind."""
    before = active_children()
    with closing(iterate_batches(Samples(), None, batch_size=1, seed=0, start=0, stop=40, workers=1)) as stream:
        next(stream)
        (worker,) = set(active_children()) - set(before)
        assert worker.pid
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(worker.pid, number)
        assert len([next(stream) for _ in range(30)]) == 30
    assert not worker.is_alive()


# Where an exception would be swallowed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_import_is_finished_first(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch imports NumPy: it takes an exception in there for NumPy's, and goes on without it."""
    (tmp_path / "asked.py").write_text(f"import signal\nsignal.raise_signal({int(number)})\nend = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(StopRequested) as caught, signals.handle_signals():
        try:
            import asked  # type: ignore[import-not-found]
        except BaseException:
            pytest.fail("raised in the import")
        assert asked.end
        for _ in range(100):
            time.sleep(signals.DELAY)
        pytest.fail("still here")
    assert caught.value.signal == number
    del sys.modules["asked"]


def test_a_second_signal_ends_an_import(tmp_path: Path) -> None:
    (tmp_path / "asked.py").write_text("import signal\nsignal.raise_signal(2)\nsignal.raise_signal(2)\n")
    script = (
        "from detnas.utils import signals\nwith signals.handle_signals():\n    import asked\n    print('still here')"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=ENVIRONMENT, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_that_a_finalizer_swallows_is_raised_again(number: int) -> None:
    class Asking:
        def __del__(self) -> None:
            signal.raise_signal(number)

    with pytest.raises(StopRequested) as caught, signals.handle_signals():
        asking = Asking()
        del asking
        for _ in range(100):
            time.sleep(signals.DELAY)
        pytest.fail("still here")
    assert caught.value.signal == number


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
@pytest.mark.parametrize("module", ["typer", "numpy.matrixlib"])
def test_the_promise_holds_while_a_command_is_still_importing(
    number: int, status: int, module: str, tmp_path: Path
) -> None:
    hook = (
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        f"            signal.raise_signal({int(number)})\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    (tmp_path / "sitecustomize.py").write_text(hook)
    environment = ENVIRONMENT | {"PYTHONPATH": os.pathsep.join([str(tmp_path), ENVIRONMENT["PYTHONPATH"]])}
    words = ["-m", "detnas", "run", "shapes-quick", "--out", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == status
    assert done.stderr == f"detnas: stopped; finished work is saved; continue with: detnas {shlex.join(words[2:])}\n"
