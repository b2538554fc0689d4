"""The search on a trained supernet. Called, it searches by any function: see `detnas.search.api.search`."""

from detnas.utils.callable_package import make_callable

make_callable(__name__, "detnas.search.api:search")
