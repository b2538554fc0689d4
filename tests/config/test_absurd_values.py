"""Every number, list and text of every section is bounded: absurd values are refused in one line, or are harmless."""

import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Le, Lt, MaxLen
from recipes import MINIMAL, write_tree

from detnas.config import FPNSettings, Recipe, RetinaNetSettings, load_recipe
from detnas.config.section import Section
from detnas.utils.errors import UserError

NUMBERS = ("0", "-1", str(10**6), str(10**18), "1" + "0" * 400, "9" * 5000, "0x" + "f" * 4000, "1e308", "-1e308")
NUMBERS += ("1e-308", ".nan", ".inf", "-.inf", "1e400", "1:1:1:1", "1_0", "2020-01-01")
OTHERS = ("true", "null", "[]", "{}", '""', '"\\0"', '"\\uD800"', "'../..'", "!!binary aGk=", "!!set {a}", "'%s{0}'")
LONG = (f"[{'1,' * 200}]", f"[{'a,' * 200}]", "a" * 10_000, "[[[[[[[[1]]]]]]]]", "{a: {b: {c: 1}}}", "[.nan, 1e400]")


def fields(section: type[Section], path: str = "") -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    """Every field of `section` and of those in it: its path, its annotation, and the constraints beside that."""
    for name, field in section.model_fields.items():
        nested = [] if name == "detector" else list(_sections(field.annotation))
        for one in nested:
            yield from fields(one, f"{path}{name}.")
        if not nested and name != "detector":
            yield f"{path}{name}", field.annotation, tuple(field.metadata)


def _sections(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections(argument)


DETECTORS = {"fpn": FPNSettings, "retinanet": RetinaNetSettings}
ALL = [("retinanet", *field) for field in fields(Recipe)]
ALL += [(name, *field) for name, detector in DETECTORS.items() for field in fields(detector, "detector.")]
PLACES = sorted({path: detector for detector, path, _, _ in ALL}.items())


def bounds(annotation: Any, found: tuple[Any, ...] = ()) -> Iterator[tuple[type, tuple[Any, ...]]]:
    """The numbers and lists in an annotation, each with the constraints on it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner, *more = arguments
        flat = [one for part in more for one in (getattr(part, "metadata", None) or [part])]
        yield from bounds(inner, (*found, *flat))
    elif origin in (Union, types.UnionType):
        for argument in arguments:
            yield from bounds(argument, found)
    elif origin is tuple:
        if Ellipsis in arguments:
            yield tuple, found
        for argument in arguments:
            yield from bounds(argument)
    elif annotation in (int, float):
        yield annotation, found


def test_every_number_and_every_list_of_a_recipe_has_a_bound() -> None:
    """So that a new field has one too."""
    unbounded = [
        path
        for _, path, annotation, constraints in ALL
        for kind, found in bounds(annotation, constraints)
        if not any(isinstance(one, MaxLen if kind is tuple else Le | Lt) for one in found)
        or (kind is not tuple and not any(isinstance(one, Ge | Gt) for one in found))
    ]
    assert unbounded == []


@pytest.mark.parametrize(("path", "detector"), PLACES)
def test_absurd_values_of_any_field_are_refused_in_one_line_or_taken(path: str, detector: str, tmp_path: Path) -> None:
    recipe = write_tree(tmp_path / "r.yaml", MINIMAL | {"detector": {"type": detector}, "data": {"shapes": {}}})
    for value in (*NUMBERS, *OTHERS, *LONG):
        try:
            taken = load_recipe(recipe, [f"{path}={value}"])
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 1200
        else:
            assert json.loads(taken.model_dump_json())
            taken.search_space()
