"""What `import detnas` promises: every name explained and typed, every name on the page of the site."""

import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paths import DOCS

import detnas

NAMES = sorted(set(detnas.__all__) - {"__version__"})
CALLED_PACKAGES = {"run": "run.pipeline.run", "search": "search.api.search"}
"""The function that each package is when it is called."""
PAGE = DOCS / "api.md"


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties that classes of ours define for `kind`."""
    for base in kind.__mro__:
        if base.__module__.startswith("detnas."):
            for name, member in vars(base).items():
                if not name.startswith("_") and isinstance(member, property | classmethod | staticmethod):
                    yield f"{base.__name__}.{name}", member.fget if isinstance(member, property) else member.__func__
                elif not name.startswith("_") and inspect.isfunction(member):
                    yield f"{base.__name__}.{name}", member


def named(name: str) -> Any:
    """What a public name stands for."""
    module, _, function = f"detnas.{CALLED_PACKAGES.get(name, name)}".rpartition(".")
    return getattr(importlib.import_module(module), function)


def callables() -> Iterator[tuple[str, Any]]:
    for name in NAMES:
        what = named(name)
        if inspect.isclass(what):
            yield from members(what)
        elif inspect.isroutine(what):
            yield name, what


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_explained(name: str) -> None:
    what = named(name)
    if inspect.isclass(what) or inspect.isroutine(what):
        text = vars(what)["__doc__"] if inspect.isclass(what) else what.__doc__
        assert text and not text.startswith(f"{name}(")  # the signature, which dataclasses put there


@pytest.mark.parametrize(("name", "what"), [pytest.param(*one, id=one[0]) for one in callables()])
def test_every_method_is_explained_and_typed(name: str, what: Any) -> None:
    assert what.__doc__
    parameters = inspect.signature(what).parameters.values()
    untyped = [one.name for one in parameters if one.annotation is one.empty and one.name not in ("self", "cls")]
    assert untyped == [] and "return" in what.__annotations__


@pytest.mark.parametrize("name", NAMES)
def test_every_name_stands_on_the_page(name: str) -> None:
    assert re.search(rf"^::: detnas\.{CALLED_PACKAGES.get(name, name)}$", PAGE.read_text(), re.MULTILINE)


def test_names_are_found_where_they_are_said_to_be() -> None:
    """The lazy import and the imports that type checkers read are two lists of the same names."""
    assert set(detnas._MODULES) == set(NAMES)
    text = Path(detnas.__file__).read_text()
    for name, module in detnas._MODULES.items():
        assert re.search(rf"from {module}[.\w]* import ", text) and callable(getattr(detnas, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        detnas.nothing  # noqa: B018


@pytest.mark.parametrize("name", CALLED_PACKAGES)
def test_a_package_is_called_as_its_function_whatever_was_imported_before(name: str) -> None:
    """Importing a module of a package binds the package to its name in `detnas`."""
    script = f"""
import detnas
first = detnas.{name}
import detnas.{CALLED_PACKAGES[name].rpartition(".")[0]} as module
assert first is detnas.{name} and callable(detnas.{name}) and callable(module.{name})
try:
    detnas.{name}()
except TypeError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"{name}() missing")


@pytest.mark.parametrize("module", ["detnas.models.families", "detnas.models.ops", "detnas.spaces"])
def test_tables_and_spaces_need_each_other_whichever_is_imported_first(module: str) -> None:
    script = f"import sys, {module}; from detnas.spaces.named import SPACES; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said == "False\n"
