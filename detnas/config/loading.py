"""Loads recipes by name or file, with changes from the command line. Errors name the field, the value, the remedy."""

import difflib
import importlib.resources
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from detnas.config.data import DataSettings
from detnas.config.detector import find_settings
from detnas.config.recipe import Recipe
from detnas.config.renamed import explain_old_key, explain_old_value
from detnas.config.section import Section
from detnas.rundir.layout import STORED_KEYS
from detnas.utils.errors import UserError
from detnas.utils.files import is_file, read_bounded, real_path
from detnas.utils.text import describe_value
from detnas.utils.yaml_text import parse_yaml

S = TypeVar("S", bound=Section)
RECIPES = importlib.resources.files("detnas") / "recipes"
MOST_BYTES = 10**6
"""Of a recipe's file."""
MOST_BASES = 20
"""Recipes on which one may be based, one on the other."""
MOST_KEY_LETTERS = 200
"""Of the path of a field on the command line."""


def recipe_names() -> list[str]:
    """The names of the recipes that come with detnas."""
    return sorted(entry.name.removesuffix(".yaml") for entry in RECIPES.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(recipe: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """Load a recipe by name or file and apply `changes`, such as `search.population=20`.

    A recipe with the key `base` (a name, or a file relative to the recipe's folder) inherits from that recipe every
    field that it does not set itself.

    Raises `UserError` for an unknown name, a file that is not a recipe, circular bases, and invalid keys or values.
    """
    return _validate(Recipe, *_with_base(*_read(str(recipe))), changes)


class _Data(Section):
    data: DataSettings


def change_data(settings: DataSettings, changes: Sequence[str]) -> DataSettings:
    """`settings` with changes such as `data.val=FILE`. Raises `UserError` for invalid ones and keys outside `data`."""
    return _validate(_Data, {"data": settings.model_dump(mode="json")}, "--set", changes).data


def _validate(section: type[S], tree: dict[str, Any], where: str, changes: Sequence[str]) -> S:
    for change in changes:
        _apply(tree, change)
    try:
        return section.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{where}: {explain(error, section)}") from None


class RecipeLoader(yaml.SafeLoader):
    """Refuses duplicate keys in a section, of which PyYAML would silently take the last."""

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, times in keys.items():
            if times > 1:
                raise yaml.MarkedYAMLError(problem=f"key {key!r} occurs {times} times", problem_mark=node.start_mark)
        return node


def _read(recipe: str, folder: Path = Path()) -> tuple[str, str]:
    """The text of a recipe by name or file (relative to `folder`), and the name of its source in messages."""
    if recipe in recipe_names():
        return (RECIPES / f"{recipe}.yaml").read_text(), f"recipe {recipe}"
    path = folder / recipe
    if is_file(path):
        try:
            return read_bounded(path, MOST_BYTES).decode("utf-8-sig"), str(path)
        except UnicodeDecodeError:
            raise UserError(f"{path}: not a recipe (it is not text); name another file") from None
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); name another file") from None
    close = difflib.get_close_matches(recipe[:MOST_KEY_LETTERS], recipe_names(), n=1)
    hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(recipe_names())}, or name a file"
    raise UserError(f"recipe {describe_value(recipe)}: no such recipe or file; {hint}")


def _with_base(text: str, where: str) -> tuple[dict[str, Any], str]:
    """The recipe `text` merged over its bases, as a tree, and the names of all their sources for messages."""
    tree = _parse(text, where)
    chain = [where]
    while "base" in tree:
        base = tree.pop("base")
        if not isinstance(base, str):
            raise UserError(f"{chain[-1]}: base = {describe_value(base)}: name one recipe or file")
        if len(chain) > MOST_BASES:
            raise UserError(f"{chain[0]}: is based on more than {MOST_BASES} others, one on the other; join some")
        try:
            text, where = _read(base, Path(chain[-1]).parent)
        except UserError as error:
            raise UserError(f"{chain[-1]}: base: {error}") from None
        if real_path(Path(where)) in [real_path(Path(one)) for one in chain]:
            raise UserError(f"{chain[-1]}: base = {base}: {' on '.join([*chain, where])} is circular; leave one out")
        chain.append(where)
        # A name belongs to one recipe and is not inherited.
        tree = _merge({key: value for key, value in _parse(text, where).items() if key != "name"}, tree)
    return tree, " on ".join(chain)


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        tree = parse_yaml(text, RecipeLoader)
    except ValueError as error:
        raise UserError(f"{where}: not YAML ({error}); see the recipes that come with detnas") from None
    if not isinstance(tree, dict):
        raise UserError(f"{where}: not a recipe; it must hold keys such as name, space, detector")
    return {key: value for key, value in tree.items() if key not in STORED_KEYS}


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes`: sections are merged key by key, everything else is replaced."""
    merged = dict(base)
    for key, value in changes.items():
        old = base.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and value.get("type", old.get("type")) == old.get("type"):
            merged[key] = _merge(old, value)
        else:
            merged[key] = value  # also a section of another type, since detectors have different keys
    return merged


def _apply(tree: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not key or len(key) > MOST_KEY_LETTERS:
        # What may be a value is not shown: it may be a password.
        shown = change[:MOST_KEY_LETTERS].partition(":")[0]
        raise UserError(f"--set {shown}: write key=value, for example search.population=20")
    try:
        value = parse_yaml(text, yaml.SafeLoader)
    except ValueError:
        raise UserError(f"--set {key}=…: the value is not YAML; quote it") from None
    *parents, last = key.split(".")
    node: Any = tree
    for parent in parents:
        section = {} if node.get(parent) is None else node[parent]
        if not isinstance(section, dict):
            raise UserError(f"--set {change[:MOST_KEY_LETTERS]}: {parent} holds a value, not a section")
        # A copy, since a YAML alias makes several sections the same object.
        node[parent] = dict(section)
        node = node[parent]
    node[last] = value


def explain(error: ValidationError, section: type[Section]) -> str:
    """One line on the first error in the values of `section`: the field, its value, and what to write instead."""
    errors = error.errors()
    unknown = [one for one in errors if one["type"] in ("extra_forbidden", "invalid_key")]
    old = [one for one in unknown if _old_key(one, section)]
    # All keys of earlier versions, else a misspelled key: that the right key is missing follows from it.
    shown = old or unknown[:1] or errors[:1]
    return "; ".join(_explain(one, section) for one in shown)


def _explain(error: ErrorDetails, section: type[Section]) -> str:
    path = [str(part) for part in error["loc"]]
    if len(path) > 1 and path[0] == "detector":
        del path[1]  # the detector's type, which `read_settings` adds to the location, is not a key of the recipe
    field = ".".join(path)
    if error["type"] == "detector_type":
        return f"{field}.{error['msg']}"
    if error["type"] == "extra_forbidden":
        return f"unknown key {field}; {_old_key(error, section) or _nearest_key(error, section, path[:-1])}"
    if error["type"] == "missing":
        return f"{field} is missing; add it"
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if error["type"] == "value_error" and isinstance(error["input"], dict):
        return f"{field}: {message}" if field else message
    if error["type"] == "model_type" and not isinstance(error["input"], int | float):
        return f"{field}: {message}"  # without the value: a password that belongs elsewhere may stand in it
    if error["type"] == "literal_error":
        message = explain_old_value(_section_at(error["loc"], section), path[-1], error["input"]) or message
    return f"{field} = {describe_value(error['input'])}: {message}"


def _old_key(error: ErrorDetails, section: type[Section]) -> str | None:
    """What has become of the unknown key of `error`, if an earlier version had it."""
    *parents, key = map(str, error["loc"])
    return explain_old_key(_section_at(error["loc"], section), key, "".join(f"{parent}." for parent in parents))


def _nearest_key(error: ErrorDetails, section: type[Section], parents: list[str]) -> str:
    """The remedy for the unknown key of `error`, in the section with the path `parents`."""
    known = list(_section_at(error["loc"], section).model_fields)
    close = difflib.get_close_matches(str(error["loc"][-1])[:MOST_KEY_LETTERS], known, n=1, cutoff=0.5)
    return f"did you mean {'.'.join([*parents, close[0]])}?" if close else f"known keys: {', '.join(known)}"


def _section_at(location: Sequence[int | str], section: type[Section]) -> type[Section]:
    """The section that holds the key at `location`, which is a path from `section`."""
    for part in map(str, location[:-1]):
        if part in section.model_fields:
            section = next(iter(_sections(section.model_fields[part].annotation)), section)
        else:
            section = find_settings(part) or section  # of the detector, see `read_settings`
    return section


def _sections(annotation: Any) -> list[type[Section]]:
    """The section types in a field's annotation."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for argument in get_args(annotation) for section in _sections(argument)]
