"""Reading recipes: by name or file, with changes from the command line, and errors that say what to write."""

import difflib
import importlib.resources
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from detnas.config.recipe import DataSettings, Recipe
from detnas.config.section import Section
from detnas.config.yaml_text import parse_yaml
from detnas.utils.errors import UserError

RECIPES = importlib.resources.files("detnas") / "recipes"

STORED_KEYS = ("versions", "data_directory", "data_fingerprint")
"""What a run directory's recipe.yaml holds beside the recipe."""


def recipe_names() -> list[str]:
    """The names of the recipes that detnas ships."""
    return sorted(entry.name.removesuffix(".yaml") for entry in RECIPES.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(recipe: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """A recipe by name or file, with `changes` such as `search.population=20` made to it.

    A recipe with the key `base` (a name, or a file as seen from its own folder) takes from that recipe whatever it
    does not say itself.

    Raises `UserError` for an unknown name, a file that is not a recipe, bases that run in a circle, and any key or
    value that does not fit.
    """
    tree, where = _with_base(*_read(str(recipe)))
    for change in changes:
        _apply(tree, change)
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{where}: {explain(error, Recipe)}") from None


class _Data(Section):
    data: DataSettings


def change_data(settings: DataSettings, changes: Sequence[str]) -> DataSettings:
    """`settings` with `changes` such as `data.val=FILE` made to it.

    Raises `UserError` for any key but those of `data`, and any value that does not fit.
    """
    tree = {"data": settings.model_dump(mode="json")}
    for change in changes:
        _apply(tree, change)
    try:
        return _Data.model_validate(tree).data
    except ValidationError as error:
        raise UserError(f"--set: {explain(error, _Data)}") from None


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in one section, of which PyYAML would take the last."""

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, times in keys.items():
            if times > 1:
                raise yaml.MarkedYAMLError(problem=f"{key!r} stands {times} times", problem_mark=node.start_mark)
        return node


def _read(recipe: str, folder: Path = Path()) -> tuple[str, str]:
    """The text of a recipe by name or file, as seen from `folder`, and what to call it."""
    if recipe in recipe_names():
        return (RECIPES / f"{recipe}.yaml").read_text(), f"recipe {recipe}"
    path = folder / recipe
    if path.is_file():
        try:
            return path.read_text(), str(path)
        except UnicodeDecodeError:
            raise UserError(f"{path}: not a recipe (it is not text)") from None
    close = difflib.get_close_matches(recipe, recipe_names(), n=1)
    hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(recipe_names())}, or name a file"
    raise UserError(f"recipe {recipe!r}: no such recipe or file; {hint}")


def _with_base(text: str, where: str) -> tuple[dict[str, Any], str]:
    """The tree of the recipe `text` laid over those of its bases, and what errors call it: all of them in a row."""
    tree = _parse(text, where)
    chain = [where]
    while "base" in tree:
        base = tree.pop("base")
        if not isinstance(base, str):
            raise UserError(f"{chain[-1]}: base = {base!r}: name one recipe or file")
        try:
            text, where = _read(base, Path(chain[-1]).parent)
        except UserError as error:
            raise UserError(f"{chain[-1]}: base: {error}") from None
        if Path(where).resolve() in [Path(one).resolve() for one in chain]:
            raise UserError(f"{chain[-1]}: base = {base!r}: {' on '.join([*chain, where])} is a circle; leave one out")
        chain.append(where)
        # A name stands for one recipe: it is not handed down.
        under = {key: value for key, value in _parse(text, where).items() if key != "name"}
        tree = _lay_over(under, tree)
    return tree, " on ".join(chain)


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        tree = parse_yaml(text, _Loader)
    except ValueError as error:
        raise UserError(f"{where}: not YAML ({error}); write it as the recipes are that detnas ships") from None
    if not isinstance(tree, dict):
        raise UserError(f"{where}: not a recipe; it must hold keys such as name, space, detector")
    return {key: value for key, value in tree.items() if key not in STORED_KEYS}


def _lay_over(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`under`, with what `over` says instead; sections are merged key by key, everything else is replaced."""
    merged = dict(under)
    for key, value in over.items():
        below = under.get(key)
        if (
            isinstance(value, dict)
            and isinstance(below, dict)
            and value.get("type", below.get("type")) == below.get("type")
        ):
            merged[key] = _lay_over(below, value)
        else:
            merged[key] = value  # a section of another type, too: the keys of one detector mean nothing to the other
    return merged


def _apply(tree: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise UserError(f"--set {change}: write key=value, for example search.population=20")
    try:
        value = parse_yaml(text, yaml.SafeLoader)
    except ValueError:
        raise UserError(f"--set {change[:200]}: the value is not YAML; quote it") from None
    *parents, last = key.split(".")
    node: Any = tree
    for parent in parents:
        section = {} if node.get(parent) is None else node[parent]
        if not isinstance(section, dict):
            raise UserError(f"--set {change}: {parent} holds a value, not a section")
        # A copy: YAML's aliases make one object of several sections.
        node[parent] = dict(section)
        node = node[parent]
    node[last] = value


def explain(error: ValidationError, section: type[BaseModel]) -> str:
    """One line on the first thing that does not fit `section`: field, value, and what to write instead."""
    # A misspelled key comes first: that the right one is missing follows from it.
    first = min(error.errors(), key=lambda one: one["type"] not in ("extra_forbidden", "invalid_key"))
    return _explain(first, section)


def _explain(error: ErrorDetails, section: type[BaseModel]) -> str:
    path = [str(part) for part in error["loc"]]
    types = [option.model_fields["type"].default for option in _sections(Recipe.model_fields["detector"].annotation)]
    if len(path) > 1 and path[0] == "detector" and path[1] in types:
        del path[1]  # the type that pydantic chose, which is no key of the recipe
    field = ".".join(path)
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        found = f" = {error['input']['type']!r}: " if "type" in error["input"] else " is missing; "
        return f"{field}.type{found}choose one of {', '.join(types)}"
    if error["type"] == "extra_forbidden":
        known = _keys_beside(error["loc"], section)
        close = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {'.'.join([*path[:-1], close[0]])}?" if close else f"known keys: {', '.join(known)}"
        return f"unknown key {field}; {hint}"
    if error["type"] == "missing":
        return f"{field} is missing; write it"
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if error["type"] == "value_error" and isinstance(error["input"], dict):
        return f"{field}: {message}" if field else message
    return f"{field} = {error['input']!r}: {message}"


def _keys_beside(location: Sequence[int | str], section: type[BaseModel]) -> list[str]:
    """The keys that the section at `location`'s parent knows; `location` is seen from `section`."""
    for part in location[:-1]:
        if part in section.model_fields:
            options = _sections(section.model_fields[str(part)].annotation)
            section = options[0]
        else:
            section = next(option for option in options if option.model_fields["type"].default == part)
    return list(section.model_fields)


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """The section types that a field's annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for argument in get_args(annotation) for section in _sections(argument)]
