"""Packages that can be called like functions: `detnas.run(...)` runs a recipe, and `detnas.run` holds the modules."""

import pkgutil
import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return pkgutil.resolve_name(self._entry_point)(*args, **kwargs)


def make_callable(package: str, entry_point: str) -> None:
    """Let calls of the imported `package` call the function at `entry_point`, `package.module:function`.

    Python binds an imported submodule to its name in the parent package. Once any module of `detnas.run` is imported,
    `detnas.run` is that package, so the function cannot be bound to the same name.
    """
    sys.modules[package].__class__ = _CallablePackage
    sys.modules[package].__dict__["_entry_point"] = entry_point
