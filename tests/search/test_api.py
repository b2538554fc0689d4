"""The search by any function: as the search of a run, and never two in one folder."""

import json
from pathlib import Path
from typing import Any

import pytest
from latency_tables import synthetic

import detnas
from detnas.search.api import FIELDS
from detnas.spaces import Architecture, Budget, SearchSpace
from detnas.utils.errors import UserError

SPACE = SearchSpace("toy", 4, (8, 16, 24, 32), (2, 1, 2, 1), ("shuffle3", "shuffle5", "xception"))
SETTINGS: dict[str, Any] = {
    "evaluations": 12,
    "population": 4,
    "num_parents": 2,
    "num_mutations": 2,
    "num_crossovers": 1,
}


class Counting:
    """A fitness that knows what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Architecture] = []

    def __call__(self, architecture: Architecture) -> float:
        self.asked.append(architecture)
        return sum(op * 3**place for place, op in enumerate(architecture.ops)) / 1000


def rows(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "candidates.jsonl").read_text().splitlines()]
    for row in found:
        del row["seconds"]
    return found


def test_more_evaluations_continue(tmp_path: Path) -> None:
    fewer = SETTINGS | {"evaluations": 6}
    detnas.search(Counting(), SPACE, tmp_path / "grown", **fewer)
    more = Counting()
    detnas.search(more, SPACE, tmp_path / "grown", **SETTINGS)
    assert len(more.asked) == 6
    detnas.search(Counting(), SPACE, tmp_path / "whole", **SETTINGS)
    assert rows(tmp_path / "grown") == rows(tmp_path / "whole")


def test_candidates_are_within_the_budget_and_two_objectives_leave_a_front(tmp_path: Path) -> None:
    costs = SPACE.cost_table()
    least, most = costs.extent("macs")
    budget = Budget(macs=(least, (least + most) / 2))
    best = detnas.search(
        Counting(), SPACE, tmp_path / "a", budget=budget, **SETTINGS | {"sampler": "nsga2", "second_objective": "macs"}
    )
    found = rows(tmp_path / "a")
    assert all(budget.allows(SPACE.cost(Architecture.parse(row["architecture"]))) for row in found)
    front = json.loads((tmp_path / "a" / "front.json").read_text())
    assert str(best) == front[-1]["architecture"] and {row["metric"] for row in found} == {"test_api:Counting"}


def test_a_candidate_whose_fitness_fails_is_given_up(tmp_path: Path) -> None:
    def sometimes(architecture: Architecture) -> float:
        if architecture.ops[0] == 1:
            raise ValueError("not this one")
        return float("nan") if architecture.ops[0] == 2 else 1.0

    detnas.search(sometimes, SPACE, tmp_path / "a", **SETTINGS | {"sampler": "random"})
    assert all(row["architecture"].startswith("0") for row in rows(tmp_path / "a"))
    failed = (tmp_path / "a" / "failed.jsonl").read_text()
    assert "ValueError: not this one" in failed and "is nan" in failed


def test_a_folder_holds_one_search(tmp_path: Path) -> None:
    detnas.search(Counting(), SPACE, tmp_path / "a", **SETTINGS)
    before = {path: path.read_bytes() for path in (tmp_path / "a").glob("*.json*")}
    for part, changes in (
        ("seed", {"seed": 1}),
        ("settings", {"num_parents": 3}),
        ("budget", {"budget": Budget(params=(0, 1e9))}),
        ("space", {"space": SearchSpace("toy", 4, (8, 16, 24, 32), (2, 1, 2, 1), ("shuffle3", "shuffle5"))}),
    ):
        arguments = {"space": SPACE, "out": tmp_path / "a"} | SETTINGS | changes
        with pytest.raises(UserError, match=rf"a: holds another search \({part}: .* choose another folder"):
            detnas.search(Counting(), **arguments)  # type: ignore[arg-type]
    assert {path: path.read_bytes() for path in (tmp_path / "a").glob("*.json*")} == before
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes").touch()
    (tmp_path / "c").touch()
    for name in "bc":
        with pytest.raises(UserError, match=f"{name}: exists and holds no search"):
            detnas.search(Counting(), SPACE, tmp_path / name, **SETTINGS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"populaton": 4}, "there is no setting populaton; did you mean population"),
        ({"num_mutations": 9}, r"num_mutations 9 \+ num_crossovers 1 exceed the population 4"),
        ({"sampler": "grid"}, "sampler = 'grid'"),
        ({"sampler": "nsga2", "second_objective": "latency"}, "second_objective latency needs a table"),
        ({"space": "tinny"}, "'tinny' is unknown"),
        ({"budget": Budget(macs=(0, 1))}, "budget.macs: no backbone of space toy"),
    ],
)
def test_what_cannot_be_searched_is_refused_and_leaves_nothing(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    arguments = {"space": SPACE, "out": tmp_path / "a"} | SETTINGS | changes
    with pytest.raises(UserError, match=said):
        detnas.search(Counting(), **arguments)
    assert not (tmp_path / "a").exists()


def test_latencies_may_bound_and_compete(tmp_path: Path) -> None:
    tiny = detnas.search_space("tiny")
    budget = Budget(latencies=synthetic(tiny))
    settings = SETTINGS | {"sampler": "nsga2", "second_objective": "latency"}
    detnas.search(Counting(), tiny, tmp_path / "a", budget=budget, **settings)
    assert all(row["latency_ms"] > 0 for row in rows(tmp_path / "a"))


def test_every_setting_of_the_choice_is_one_of_a_recipe() -> None:
    assert set(FIELDS) <= set(detnas.config.SearchSettings.model_fields)
