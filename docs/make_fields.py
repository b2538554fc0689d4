"""Writes docs/fields.md, every field of a recipe, from the types in detnas/config: `python docs/make_fields.py`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detnas.config import Recipe

FILE = Path(__file__).parent / "fields.md"
HEAD = """# Every field of a recipe

A recipe is a YAML file; `detnas/recipes` has complete ones. With `base: NAME` at its top it inherits the fields of
another recipe. `--set search.population=20` changes a field on the command line, by its path. A wrong value is refused
before any training. Fields without a default are required.

<!-- Written by docs/make_fields.py from the types in detnas/config; do not edit. -->
"""
SECTIONS = {
    "FPNSettings": "`detector` with `type: fpn`",
    "RetinaNetSettings": "`detector` with `type: retinanet`",
    "TrainingSettings": "`pretrain`, `finetune`, and also `supernet_pretrain`, `supernet_finetune`",
    "SupernetTrainingSettings": "`supernet_pretrain`, `supernet_finetune` only",
    "ShapesSettings": "`data.shapes`",
    "FinalsSettings": "`finals`; without it there are none",
}
"""Headings of sections that are not at one field of the recipe."""
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
KINDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}


def render_page() -> str:
    """The text of docs/fields.md."""
    schema = Recipe.model_json_schema()
    sections = schema["$defs"]
    names = {Path(value["$ref"]).name: f"`{key}`" for key, value in schema["properties"].items() if "$ref" in value}
    plain = {key: value for key, value in schema["properties"].items() if not _nested(value)}
    lines = [HEAD, "## The recipe itself", "", *_table(plain, schema["required"])]
    for name, section in sections.items():
        fields = {key: value for key, value in section["properties"].items() if not _nested(value)}
        if name == "SupernetTrainingSettings":
            fields = {
                key: value for key, value in fields.items() if key not in sections["TrainingSettings"]["properties"]
            }
        about = " ".join(section.get("description", "").split())
        lines += [
            "",
            f"## {SECTIONS.get(name) or names[name]}",
            "",
            about,
            "",
            *_table(fields, section.get("required", ())),
        ]
    return "\n".join(lines) + "\n"


def _nested(value: dict[str, Any]) -> bool:
    """Whether a field holds a section."""
    return "$ref" in json.dumps(value)


def _table(fields: dict[str, Any], required: Any) -> Iterator[str]:
    yield "| field | what it takes | default | |"
    yield "|---|---|---|---|"
    for name, value in fields.items():
        default = "" if name in required else f"`{json.dumps(value['default'], ensure_ascii=False)}`"
        about = " ".join(value.get("description", "").split()).replace("|", "\\|")
        yield f"| `{name}` | {_kind(value)} | {default} | {about} |"


def _kind(value: dict[str, Any]) -> str:
    """The values that a field takes, in words."""
    if "enum" in value:
        return ", ".join(f"`{choice}`" for choice in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if "anyOf" in value or "oneOf" in value:
        return " or ".join(dict.fromkeys(_kind(one) for one in value.get("anyOf") or value["oneOf"]))
    if value.get("type") == "array":
        if "prefixItems" in value:
            return f"list of {len(value['prefixItems'])}: {_kind(value['prefixItems'][0])}"
        return f"list of: {_kind(value['items'])}"
    bounds = " and ".join(f"{sign} {_number(value[key])}" for key, sign in BOUNDS.items() if key in value)
    return f"{KINDS[value['type']]} {bounds}".strip()


def _number(number: float) -> str:
    return f"{number:,.0f}" if number in (10**6, 10**5, 10**4) else f"{number:g}"


if __name__ == "__main__":
    FILE.write_text(render_page())
