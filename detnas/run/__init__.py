"""A run: the pipeline's stages over a run directory. Called, it runs a recipe: see `detnas.run.pipeline.run`."""

from detnas.utils.callable_package import make_callable

make_callable(__name__, "detnas.run.pipeline:run")
