"""Packages that are called like functions: `detnas.run(...)` runs a recipe, and `detnas.run` holds what that takes."""

import importlib
import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        module, _, name = self._entry_point.partition(":")
        return getattr(importlib.import_module(module), name)(*arguments, **settings)


def make_callable(package: str, entry_point: str) -> None:
    """Let the imported `package` be called as the function at `entry_point`, `package.module:function`.

    Python binds the name of a submodule in its parent package, so that `detnas.run` is the package once any module of
    it has been imported, and the function cannot be bound to the same name.
    """
    sys.modules[package].__class__ = _CallablePackage
    sys.modules[package].__dict__["_entry_point"] = entry_point
