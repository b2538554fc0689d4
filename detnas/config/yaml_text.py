"""Parses YAML from untrusted sources."""

from typing import Any

import yaml


def parse_yaml(text: str | bytes, loader: type[yaml.BaseLoader] | type[yaml.SafeLoader]) -> Any:
    """The value of the YAML `text`. Raises `ValueError` with a message of one line if it is not valid YAML."""
    try:
        return yaml.load(text, loader)
    except yaml.YAMLError as error:
        reason = str(error)
    except RecursionError:
        reason = "it is nested too deep"
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        # PyYAML raises these for values that do not fit their type, such as 2020-13-45 or !!bool perhaps.
        reason = f"a value cannot be read: {error}"
    raise ValueError(" ".join(reason.split()))
