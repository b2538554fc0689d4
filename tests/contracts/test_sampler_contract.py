"""What every sampler keeps to; a new line in the table `SAMPLERS` inherits these tests."""

import itertools
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import toy_search as toy
from pydantic import ValidationError
from sampling import SPACE, fitness, make_sampler, sample, settings_for
from toy_sampler import CountingSampler
from toy_search import toy_search

import detnas
from detnas.config import SearchSettings
from detnas.search.samplers import SAMPLERS
from detnas.search.samplers.base import EvaluationRecord, Sampler, SpaceExhausted
from detnas.spaces import Architecture, Block, Budget, BudgetSampler, Cost, SearchSpace, Size

NAMES = [*SAMPLERS, "toy"]
PINNED = json.loads((Path(__file__).parent / "proposals.json").read_text())
"""What the samplers of the first edition proposed, with `detnas.search` and the settings of `settings_for`."""
BUDGET = Budget(macs=(2921184, 4397534))
EVERY = [SPACE.architecture(ops) for ops in itertools.product(range(4), repeat=6)]


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SAMPLERS, "toy", CountingSampler)


def failing(architecture: Architecture) -> float:
    if architecture.ops[0] == 2 and architecture.ops[3] > 1:
        raise ValueError("fails")
    return fitness(architecture)


def rows(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "candidates.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in found]


@pytest.mark.parametrize("name", NAMES)
def test_settings_name_it_and_a_second_objective_only_if_it_takes_one(name: str) -> None:
    assert settings_for(name).sampler == name
    other = None if SAMPLERS[name].takes_second_objective else "params"
    with pytest.raises(ValidationError, match=r"needs a second objective|second_objective params is for sampler nsga2"):
        SearchSettings(sampler=name, second_objective=other)


@pytest.mark.parametrize("name", PINNED)
def test_proposals_are_those_of_the_first_edition(name: str) -> None:
    """Of which some failed."""
    found = sample(make_sampler(name, seed=11, budget_sampler=BudgetSampler(SPACE, BUDGET)), failing)
    proposals = [f"{str(one.architecture).replace(' ', '')} {one.origin}" for one in found.proposals]
    assert proposals == PINNED[name]["proposals"]
    assert [one.index for one in found.history if one.state == "failed"] == PINNED[name]["failed"]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_comes_twice_and_all_is_within_the_budget(name: str) -> None:
    budget_sampler = BudgetSampler(SPACE, BUDGET)
    for evaluate in (fitness, failing):
        found = sample(make_sampler(name, budget_sampler=budget_sampler), evaluate).architectures
        assert len(set(found)) == 40 and all(map(budget_sampler.allows, found))


@pytest.mark.parametrize("name", NAMES)
def test_incumbents_open_the_search_and_are_parents_like_others(name: str) -> None:
    budget_sampler = BudgetSampler(SPACE, BUDGET)
    known = tuple(sample(make_sampler(name, seed=5, budget_sampler=budget_sampler)).architectures[20:24])

    def make() -> Sampler:
        return SAMPLERS[name](budget_sampler, settings_for(name), 0, known)

    found = sample(make())
    assert [(one.architecture, one.origin) for one in found.proposals[:4]] == [(one, "incumbent") for one in known]
    assert all(one.origin != "incumbent" for one in found.proposals[4:])
    assert len(set(found.architectures)) == 40 and all(map(budget_sampler.allows, found.architectures))
    for index in (0, 3, 4, 25):
        assert make().propose(found.history[:index], index) == found.proposals[index]


@pytest.mark.parametrize("name", NAMES)
def test_a_proposal_is_a_function_of_seed_and_history(name: str) -> None:
    """Asked again, by another process that knows only the history, and after a later evaluation."""
    whole = sample(make_sampler(name), failing)
    assert sample(make_sampler(name), failing).proposals == whole.proposals
    same = make_sampler(name)
    for index in (25, 3, 8, 39, 24):
        history = whole.history[:index]
        proposal = whole.proposals[index]
        assert make_sampler(name).propose(history, index) == same.propose(history, index) == proposal
        assert same.propose(history, index) == proposal
        assert history == whole.history[:index]


@pytest.mark.parametrize("name", NAMES)
def test_a_later_generation_waits_for_the_earlier_ones_alone(name: str) -> None:
    """Within a generation, what is running or finished meanwhile changes no proposal but those of TPE."""
    sampler = make_sampler(name)
    size = sampler.generation_size
    assert 1 <= size <= sampler.settings.evaluations
    if size == sampler.settings.evaluations:
        return  # a single generation
    whole = sample(sampler)
    complete = whole.history[: 2 * size]
    running = [EvaluationRecord(2 * size + 3, whole.architectures[2 * size + 3], "running")]
    for place in reversed(range(size)):
        assert make_sampler(name).propose(complete + running, 2 * size + place) == whole.proposals[2 * size + place]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_running_or_was_tried_before_does_not_stand_in_the_way(name: str) -> None:
    history = sample(make_sampler(name), count=16).history
    proposal = make_sampler(name).propose(history, 16)
    failed = EvaluationRecord(16, proposal.architecture, "failed")
    assert make_sampler(name).propose([*history, failed], 16) == proposal
    if make_sampler(name).generation_size == 40:
        running = EvaluationRecord(17, proposal.architecture, "running")
        found = make_sampler(name).propose([*history, running], 16)
        assert name == "random" or found != proposal


@pytest.mark.parametrize("name", NAMES)
def test_it_ends_with_the_space(name: str) -> None:
    costs = sorted(SPACE.cost(architecture).macs for architecture in EVERY)
    few = BudgetSampler(SPACE, Budget(macs=(0, costs[7])))
    count = sum(cost <= costs[7] for cost in costs)
    numbers = {"population": 4, "num_mutations": 2, "num_crossovers": 1, "evaluations": count + 1}
    sampler = make_sampler(name, budget_sampler=few, **numbers)
    found = sample(sampler, count=count)
    assert len(set(found.architectures)) == count
    with pytest.raises(SpaceExhausted):
        sampler.propose(found.history, count)


class StrideOne:
    """An op that may not stand where a stage begins."""

    @staticmethod
    def build(block: Block, shuffle: Any) -> Any:
        raise NotImplementedError

    @staticmethod
    def cost(block: Block, size: Size) -> Cost:
        return Cost(macs=size[0] * block.in_channels, params=block.in_channels)

    @staticmethod
    def is_allowed(block: Block) -> bool:
        return block.stride == 1

    @staticmethod
    def seed(op: Any, native: Any) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("name", NAMES)
def test_no_op_stands_where_it_is_not_allowed(name: str) -> None:
    space = SearchSpace("barred", 4, (8, 16), (3, 3), ("shuffle3", "shuffle5", "test_sampler_contract:StrideOne"))
    found = sample(make_sampler(name, budget_sampler=BudgetSampler(space, Budget())), lambda one: -float(sum(one.ops)))
    assert all(map(space.allows, found.architectures)) and len(set(found.architectures)) == 40
    assert any(2 in architecture.ops for architecture in found.architectures)


@pytest.mark.parametrize("name", NAMES)
def test_the_merits_of_candidates_are_numbers(name: str) -> None:
    found = sample(make_sampler(name))
    merits = make_sampler(name).merits(found.architectures, found.fitness)
    assert len(merits) == 40 and all(isinstance(merit, float) for merit in merits)


# In a study


class Cut(BaseException):
    """Where a test kills a search."""


class CutFitness:
    """A fitness that knows what it was asked, and cuts the search when that are so many."""

    def __init__(self) -> None:
        self.asked: list[Architecture] = []
        self.cut_at: int | None = None

    def __call__(self, architecture: Architecture) -> float:
        if len(self.asked) == self.cut_at:
            raise Cut
        self.asked.append(architecture)
        return fitness(architecture)


@pytest.mark.parametrize("name", NAMES)
def test_a_search_that_is_cut_ends_as_one_that_is_not(name: str, tmp_path: Path) -> None:
    """And proposes what the sampler proposes without a study."""
    told = settings_for(name, evaluations=14, population=4, num_mutations=2, num_crossovers=1)
    second = told.second_objective
    fields = ("sampler", "evaluations", "population", "num_parents", "num_mutations", "num_crossovers")
    chosen: dict[str, Any] = {field: getattr(told, field) for field in fields}
    if second:
        chosen["second_objective"] = second
    uncut, cut = CutFitness(), CutFitness()
    best = detnas.search(uncut, SPACE, tmp_path / "whole", seed=3, **chosen)
    expected = sample(SAMPLERS[name](BudgetSampler(SPACE, Budget()), told, 3))
    assert uncut.asked == expected.architectures
    assert [row["origin"] for row in rows(tmp_path / "whole")] == expected.origins
    merits = make_sampler(name).merits(expected.architectures, expected.fitness)
    assert best == max(zip(merits, expected.architectures, strict=True), key=lambda of: of[0])[1]
    for cut.cut_at in (0, 3, 9):
        with pytest.raises(Cut):
            detnas.search(cut, SPACE, tmp_path / "cut", seed=3, **chosen)
    cut.cut_at = None
    assert detnas.search(cut, SPACE, tmp_path / "cut", seed=3, **chosen) == best
    assert cut.asked == uncut.asked  # nothing is evaluated again
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    cut.cut_at = 14
    assert detnas.search(cut, SPACE, tmp_path / "cut", seed=3, **chosen) == best
    if second:
        fronts = [json.loads((tmp_path / who / "front.json").read_text()) for who in ("cut", "whole")]
        assert [row["number"] for row in fronts[0]] == [row["number"] for row in fronts[1]]
    else:
        assert not (tmp_path / "cut" / "front.json").exists()
    size = SAMPLERS[name](BudgetSampler(SPACE, Budget()), told, 3).generation_size
    assert [row["generation"] for row in rows(tmp_path / "cut")] == [index // size for index in range(14)]


@pytest.mark.parametrize("name", NAMES)
def test_three_workers_share_a_search(name: str, tmp_path: Path) -> None:
    """They leave what one leaves, unless proposals depend on what is running: those of TPE, and of the toy."""
    second = "params" if SAMPLERS[name].takes_second_objective else None
    small = {"evaluations": 10, "population": 4, "num_parents": 3, "num_mutations": 2, "num_crossovers": 1}
    told: dict[str, Any] = {"sampler": name, "second_objective": second, **small}
    evaluators = [toy.noted(tmp_path / "evaluated") for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda evaluator: toy_search(tmp_path / "shared", evaluator, **told), evaluators))
    found = rows(tmp_path / "shared")
    assert Counter(toy.evaluations(tmp_path / "evaluated")) == Counter(row["architecture"] for row in found)
    assert len({row["architecture"] for row in found}) == 10 and [row["number"] for row in found] == list(range(10))
    if name not in ("tpe", "toy"):
        toy_search(tmp_path / "alone", **told)
        assert found == rows(tmp_path / "alone")
        numbers = [json.loads((tmp_path / who / "best.json").read_text())["number"] for who in ("shared", "alone")]
        assert numbers[0] == numbers[1]
    if second:
        shared, alone = (json.loads((tmp_path / who / "front.json").read_text()) for who in ("shared", "alone"))
        assert [row["number"] for row in shared] == [row["number"] for row in alone]
