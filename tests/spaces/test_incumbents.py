"""Incumbents: what one would take without a search, in each space."""

from dataclasses import replace

import pytest

from detnas.spaces import Architecture, Budget, BudgetSampler, Cost, DetectorParts, SearchSpace, search_space
from detnas.spaces.block import HeadSpace
from detnas.spaces.incumbents import find_incumbents
from detnas.spaces.published import PUBLISHED, known_name

LITE0 = PUBLISHED["efficientnet-lite0"].architecture
MOBILE = search_space("mobile")


def incumbents(
    space: SearchSpace, budget: Budget | None = None, named: tuple[str, ...] = (), most: int = 99
) -> list[str]:
    return list(map(str, find_incumbents(BudgetSampler(space, budget or Budget()), named, most)))


def test_those_of_a_paper_space_are_its_one_op_networks_within_the_budget_and_what_the_recipe_names() -> None:
    space = search_space("small")
    every = ["3" * 4, "2" * 4, "1" * 4, "0" * 4]
    assert incumbents(space) == [" ".join((four, four, four * 2, four)) for four in every]
    budget = Budget(macs=(0, space.cost(space.uniform("xception")).macs - 1))
    assert [one[0] for one in incumbents(space, budget)] == ["2", "1", "0"]
    named = incumbents(space, budget, ("detnas-fpn-300m", "shufflenetv2-20", "efficientnet-lite0"))
    assert named[:2] == ["2120 2112 33130031 3132", "0000 0000 00000000 0000"] and len(named) == 4
    assert incumbents(space, budget, most=1) == named[2:3]
    assert incumbents(space, Budget(macs=(300e6, 300.5e6))) == []


def test_those_of_the_mobile_space_are_lite0_and_what_is_thinner_or_shorter() -> None:
    found = incumbents(MOBILE)
    assert found[0] == str(LITE0) and len(found) == len(set(found))
    costs = [MOBILE.cost(Architecture.parse(one)).macs for one in found[1:]]
    assert costs == sorted(costs, reverse=True)
    uniform = [str(MOBILE.architecture([op] * 15)) for op in range(4)]
    thinner = str(MOBILE.architecture([{0: 2, 1: 3}[op] for op in LITE0.ops]))
    assert {*uniform, thinner} < set(found)
    shorter = [one for one in found if "4" in one]
    assert shorter and all(stage.endswith("4") for one in shorter for stage in one.split()[:5])
    assert all(MOBILE.allows(Architecture.parse(one)) for one in found)


HEAD = HeadSpace(("full", "separable"), (((0, 1), (0, 1)),))
CHOICES = replace(MOBILE, resolutions=(192, 256), head=HEAD)


def parts(side: int) -> DetectorParts:
    full, separable = Cost(side**2 * 1000, 0), Cost(side**2 * 200, 0)
    return DetectorParts((side, side), Cost(0, 0), Cost(0, 0), ({0: full, 1: separable},) * 2)


def test_a_published_network_comes_at_every_resolution_and_the_others_at_the_highest_that_fits() -> None:
    every = Budget(detector={side: parts(side) for side in (192, 256)})
    found = [Architecture.parse(one) for one in incumbents(CHOICES, every)]
    assert [(one.resolution, one.head) for one in found[:4]] == [
        (256, ((0, 0),)),
        (256, ((1, 1),)),
        (192, ((0, 0),)),
        (192, ((1, 1),)),
    ]
    assert {one.stages for one in found[:4]} == {LITE0.stages}
    assert {(one.resolution, one.head) for one in found[4:]} == {(256, ((0, 0),))}
    sampler = BudgetSampler(CHOICES, every)
    bound = sampler.cost(found[0]).macs - 1
    tight = replace(every, macs=(0, bound))
    less = [Architecture.parse(one) for one in incumbents(CHOICES, tight)]
    assert [(one.resolution, one.head) for one in less[:3]] == [(256, ((1, 1),)), (192, ((0, 0),)), (192, ((1, 1),))]
    assert {one.resolution for one in less[3:]} == {256}  # thinner, at the higher resolution
    assert all(BudgetSampler(CHOICES, tight).allows(one) for one in less)


@pytest.mark.parametrize(
    ("architecture", "space", "name"),
    [
        (LITE0, MOBILE, "efficientnet-lite0"),
        (replace(LITE0, resolution=256, head=((0, 0),)), CHOICES, "efficientnet-lite0 at 256 pixels"),
        (Architecture.parse("1111 1111 11111111 1111"), search_space("small"), "shuffle5 in every block"),
        (Architecture.parse("0000 0000 00000000 0000"), search_space("small"), "shufflenetv2-20"),
        (Architecture.parse("0001 0000 00000000 0000"), search_space("small"), "0001 0000 00000000 0000"),
    ],
)
def test_networks_are_called_as_people_call_them(architecture: Architecture, space: SearchSpace, name: str) -> None:
    assert known_name(architecture, space) == name
