"""Parses YAML from untrusted sources: in bounded time and memory, whatever the text holds."""

from collections.abc import Iterator
from typing import Any, cast

import yaml
from yaml.composer import Composer

MOST_NODES = 10_000
"""Of a recipe: values, keys and sections, counted as often as aliases repeat them."""
LETTERS_PER_NODE = 100
"""A text may have as many letters for each of its most nodes, so a recipe may have a million."""
MOST_LEVELS = 50
"""Of sections in sections."""
MOST_DIGITS = 1000
"""Of a number or date. Python neither reads nor writes numbers of more than 4300."""
TEXT = "tag:yaml.org,2002:str"


def parse_yaml(
    text: str | bytes, loader: type[yaml.BaseLoader] | type[yaml.SafeLoader], most_nodes: int = MOST_NODES
) -> Any:
    """The value of the YAML `text`, in which aliases stand for no more than `most_nodes` nodes.

    Raises `ValueError` with a message of one line, which shows none of the values, if it is not valid YAML or too
    large.
    """
    if len(text) > LETTERS_PER_NODE * most_nodes:
        raise ValueError(f"it has more than {LETTERS_PER_NODE * most_nodes:,} letters")
    try:
        # Typed as what it becomes together with `loader`.
        bounded = cast(type[yaml.SafeLoader], type("BoundedLoader", (_BoundedComposer, loader), {"most": most_nodes}))
        return _construct(bounded(text))
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        reason = " ".join(filter(None, (error.context, error.problem)))
        reason += f" in line {place.line + 1}, column {place.column + 1}" if place else ""
    except yaml.YAMLError as error:  # a character that no YAML has
        reason = str(error)
    except RecursionError:
        reason = "it is nested too deep"
    raise ValueError(" ".join(reason.split()))


class _BoundedComposer(Composer):
    """Stops after `most` nodes, before there are aliases to follow."""

    most: int
    count = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.count += 1
        if self.count > self.most:
            raise yaml.YAMLError(f"it has more than {self.most:,} values")
        return super().compose_node(parent, index)


def _construct(loader: yaml.SafeLoader) -> Any:
    node = loader.get_single_node()
    if node is None:
        return None
    sizes = dict[int, tuple[int, int]]()
    if _measure(node, sizes)[0] > loader.most:  # type: ignore[attr-defined]
        raise yaml.YAMLError(f"its aliases stand for more than {loader.most:,} values")  # type: ignore[attr-defined]
    try:
        return loader.construct_document(node)
    except (ValueError, LookupError, AttributeError, TypeError):
        # PyYAML raises these for values that do not fit their type, such as 2020-13-45 or !!bool perhaps.
        problem = "a value cannot be read; quote it if it is text"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=_unreadable(loader, node).start_mark) from None


def _measure(node: yaml.Node, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How many nodes and levels `node` stands for; `known` has what was measured, and (0, 0) what is being measured."""
    if id(node) in known:
        if known[id(node)] == (0, 0):
            raise yaml.MarkedYAMLError(problem="an alias stands for what it is in", problem_mark=node.start_mark)
        return known[id(node)]
    known[id(node)] = 0, 0
    if isinstance(node, yaml.ScalarNode) and node.tag != TEXT and len(node.value) > MOST_DIGITS:
        problem = f"a number or date of {len(node.value):,} letters"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    size, levels = 1, 1
    for child in _children(node):
        of_child, below = _measure(child, known)
        size, levels = size + of_child, max(levels, below + 1)
        if levels > MOST_LEVELS:
            raise yaml.MarkedYAMLError(problem="it is nested too deep", problem_mark=node.start_mark)
    known[id(node)] = size, levels
    return size, levels


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        yield from (part for pair in node.value for part in pair)
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _unreadable(loader: yaml.SafeLoader, node: yaml.Node) -> yaml.Node:
    """The first node below `node` that cannot be constructed, or `node` itself."""
    for child in _children(node):
        loader.constructed_objects.clear()  # what is left of the attempt that failed
        loader.recursive_objects.clear()
        try:
            loader.construct_object(child, deep=True)
        except (ValueError, LookupError, AttributeError, TypeError):
            return _unreadable(loader, child)
    return node
