"""A run under a budget of latency, from the table to the page."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from latency_tables import read_table, synthetic, write_table
from shell import Shell
from small_recipe import write_recipe

from detnas.profiling.latency import backends, profile
from detnas.run.pipeline import run
from detnas.spaces import Architecture, LatencyTable, search_space
from detnas.utils.errors import UserError
from detnas.utils.files import read_json, read_json_lines

SPACE = search_space("tiny", 0.25)
TABLE = synthetic(SPACE, stem_us=300)
LEAST, MOST = (300 + sum(map(pick, TABLE.blocks_us)) for pick in (min, max))
BOUNDS_MS = (LEAST / 1e3 + 1, LEAST / 1e3 + 4)


def latency_ms(architecture: str, table: LatencyTable = TABLE) -> float:
    ops = Architecture.parse(architecture).ops
    return (table.stem_us + sum(row[op] for row, op in zip(table.blocks_us, ops, strict=True))) / 1e3


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory, blocks: Path) -> Path:
    """A finished run; its recipe and table lie beside it."""
    folder = tmp_path_factory.mktemp("latency")
    write_table(folder / "table.json", TABLE)
    low, high = BOUNDS_MS
    recipe = write_recipe(
        folder / "recipe.yaml",
        budget={"of": "backbone", "latency_min": low, "latency_max": high, "latencies": str(folder / "table.json")},
        baselines=["random"],
        pretraining={"source": "none"},
    )
    return run(str(recipe), folder / "run", blocks)


def test_every_candidate_is_within_the_bounds_and_says_its_latency(bounded: Path) -> None:
    rows = read_json_lines(bounded / "search" / "candidates.jsonl")
    best = read_json(bounded / "search" / "best.json")
    evaluations = [read_json(bounded / "finetune" / name / "evaluation.json") for name in ("winner", "random")]
    assert len(rows) == 6
    for row in (*rows, best, *evaluations):
        assert row["latency_ms"] == latency_ms(row["architecture"])
        assert BOUNDS_MS[0] <= row["latency_ms"] <= BOUNDS_MS[1]
    assert BOUNDS_MS[0] > LEAST / 1e3 and BOUNDS_MS[1] < MOST / 1e3  # the bounds exclude something


def test_status_profile_and_page_say_it_too(bounded: Path, shell: Shell) -> None:
    best = read_json(bounded / "search" / "best.json")
    told = f"{best['latency_ms']:.3g} ms"
    assert f"{best['architecture']}: " in shell("status", bounded) and told in shell("status", bounded)
    assert (
        shell("profile", bounded.parent / "recipe.yaml").count(" ms\n") == 4
    )  # cheapest, median, most expensive, random
    page = (bounded / "report.html").read_text()
    assert page.count(">Latency</th>") == 2 and page.count(f'<td class="n">{told}</td>') >= 2


def test_a_table_that_was_measured_again_is_refused(bounded: Path, tmp_path: Path, blocks: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(bounded.parent, folder)
    recipe, table = folder / "recipe.yaml", bounded.parent / "table.json"
    assert read_table(folder / "run" / "latencies.json") == TABLE
    run(str(recipe), folder / "run", blocks)
    try:
        write_table(table, replace(TABLE, stem_us=301))
        with pytest.raises(UserError, match=r"budget.latencies has been measured again since .* put .*latencies.json"):
            run(str(recipe), folder / "run", blocks)
    finally:
        write_table(table, TABLE)


def test_profile_measures_by_both_backends(
    tmp_path: Path,
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backends, "MAX_SECONDS", 0)
    monkeypatch.setattr(profile, "NUM_ARCHITECTURES", 3)
    recipe = write_recipe(tmp_path / "recipe.yaml", detector__min_size=32, detector__max_size=32)
    said = shell("profile", recipe, "--latency", "--out", tmp_path / "tables")
    assert said.count("Kendall's tau") == 2 and "1 thread" in said
    files = sorted((tmp_path / "tables").iterdir())
    assert [file.name for file in files] == [
        f"latency-tiny-x0.25-32x32-{backend}.json" for backend in ("eager", "onnxruntime")
    ]
    for file in files:
        assert str(file) in said
        table = read_table(file)
        assert SPACE.cost_table(latencies=table).stem.latency == table.stem_us
        assert json.loads(file.read_text())["check"]["networks"]


def test_a_folder_for_tables_needs_tables(tmp_path: Path, shell: Shell) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml")
    assert "add --latency or leave out --out" in shell.refused("profile", recipe, "--out", tmp_path)
