"""Reading YAML that anybody may have written."""

from typing import Any

import yaml


def parse_yaml(text: str | bytes, loader: type[yaml.BaseLoader] | type[yaml.SafeLoader]) -> Any:
    """What `text` says. Raises `ValueError` with one line if it cannot be read."""
    try:
        return yaml.load(text, loader)
    except yaml.YAMLError as error:
        reason = str(error)
    except RecursionError:
        reason = "it is nested too deep"
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        # What PyYAML lets through of values that are not what they look like: 2020-13-45, !!bool perhaps.
        reason = f"a value cannot be read: {error}"
    raise ValueError(" ".join(reason.split()))
