"""Drawn damage of the files that `status` and `report` read: a value, or one line about the file."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detnas.report import write_report
from detnas.run.status import format_status
from detnas.utils.errors import UserError

READ = (".json", ".jsonl", ".yaml")
NUMBERS = (None, -1, 0, 2**63, 10**400, 1e308, -1e308, math.nan, math.inf)
ODD = st.sampled_from([*NUMBERS, "", "\x1b[31m", "<b>", "1 2", "x" * 5000, [], {}, [[]]])


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all values in a tree of JSON."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(leaf for key, value in items for leaf in leaves(value, (*path, key)))]


def replaced(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """`tree` with another value at a place, or without what is there if the value is `...`."""
    if not path:
        return None if value is ... else value
    tree = tree.copy()
    if len(path) == 1 and value is ...:
        del tree[path[0]]
    else:
        tree[path[0]] = replaced(tree[path[0]], path[1:], value)
    return tree


@pytest.mark.parametrize("finished", ["retinanet"], indirect=True)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(damage=st.data())
def test_drawn_damage_ends_in_a_page_or_in_one_line(
    finished: Path, tmp_path_factory: pytest.TempPathFactory, damage: st.DataObject
) -> None:
    names = sorted(str(path.relative_to(finished)) for path in finished.rglob("*") if path.suffix in READ)
    name = damage.draw(st.sampled_from(names))
    run = tmp_path_factory.mktemp("damaged") / "run"
    ignored = shutil.ignore_patterns("*.pt", "*.safetensors", "events*", "*.html")
    path = Path(shutil.copytree(finished, run, ignore=ignored)) / name
    if path.suffix == ".yaml" or damage.draw(st.booleans()):
        whole = path.read_bytes()
        start = damage.draw(st.integers(0, len(whole)))
        path.write_bytes(
            whole[:start] + damage.draw(st.binary(max_size=8)) + whole[damage.draw(st.integers(start, len(whole))) :]
        )
    else:
        lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        turn = damage.draw(st.integers(0, len(lines) - 1))
        tree = json.loads(lines[turn])
        place = damage.draw(st.sampled_from(leaves(tree)))
        lines[turn] = json.dumps(replaced(tree, place, damage.draw(ODD | st.just(...))))
        path.write_text("\n".join(lines) + "\n")
    for read in (lambda: list(format_status(run)), lambda: write_report(run)):
        try:
            read()
        except UserError as error:
            assert "\n" not in str(error) and (path.name in str(error) or str(run) in str(error)), (name, error)
    shutil.rmtree(run.parent)
