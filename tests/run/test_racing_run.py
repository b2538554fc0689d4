"""Racing in a run: the search, what it leaves, and what is said of it."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from small_recipe import write_recipe

from detnas.config import SearchSettings, load_recipe
from detnas.run.pipeline import run, write_page
from detnas.run.status import describe
from detnas.utils.errors import UserError
from detnas.utils.files import read_json_lines, write_json_lines

RACING = {"racing": [0.3, 0.6], "racing_chance": 0.4, "batch": 1}


@pytest.mark.parametrize("finished", ["retinanet"], indirect=True)
def test_a_run_with_racing(finished: Path, blocks: Path, tmp_path: Path) -> None:
    """The search alone, of a supernet that is trained."""
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    shutil.rmtree(copy / "search")
    stored = yaml.safe_load((copy / "recipe.yaml").read_text())
    stored["search"] |= RACING
    (copy / "recipe.yaml").write_text(yaml.safe_dump(stored))
    changes = {f"search__{name}": value for name, value in RACING.items()}
    run(str(write_recipe(tmp_path / "recipe.yaml", **changes)), copy, blocks, stages=("search",))
    rows = read_json_lines(copy / "search" / "candidates.jsonl")
    before = {row["architecture"]: row["fitness"] for row in read_json_lines(finished / "search" / "candidates.jsonl")}
    assert len(rows) == 6
    for row in rows[:3]:  # the first generation is judged as a whole
        assert row["fitness"] == pytest.approx(before[row["architecture"]], abs=1e-4)
    done = json.loads((copy / "search" / "done.json").read_text())
    pictures = max(row["pictures"] for row in rows)
    assert done["pictures"] + done["pictures_saved"] == 6 * pictures > 6
    assert done["pictures"] == sum(row["pictures"] for row in rows)
    # Whatever became of these, one that was dropped is counted, and is not the best.
    rows[-1] |= {"fitness": None, "AP50": None, "pictures": 2, "dropped_at": 1.0}
    write_json_lines(copy / "search" / "candidates.jsonl", rows)
    (line,) = [line for line in describe(copy) if line.startswith("search: ")]
    dropped = sum(row["fitness"] is None for row in rows)
    assert f"6 of 6 candidates ({dropped} dropped on the way), best mAP " in line and "mAP 1.000" not in line
    assert "dropped after a part of the pictures" in write_page(copy).read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("search.racing=[0.5,0.25]", "racing [0.5, 0.25]: give each share once, the smallest first"),
        ("search.racing=[0.5,0.5]", "racing [0.5, 0.5]: give each share once"),
        ("search.racing=[1.0]", "less than 1"),
        ("search.racing=[0]", "greater than 0"),
        ("search.racing_chance=0.5", "less than 0.5"),
        (("search.racing=[0.5]", "search.sampler=random"), "drops who will not be a parent of sampler evolution"),
    ],
)
def test_what_cannot_be_is_refused(change: str | tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError) as refused:
        load_recipe("shapes-quick", [change] if isinstance(change, str) else change)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_racing_is_off_unless_asked_for() -> None:
    assert SearchSettings().racing == ()
