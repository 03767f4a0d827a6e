"""Compile numeric loops to machine code with numba."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from numba import njit
from numba.core.caching import FunctionCache

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` at its first call; threads run it side by side.

    The machine code is kept for later processes beside the source or in the user's cache folder, and is compiled anew
    where neither can be written. Arithmetic is IEEE's, operation by operation, so that results are the same everywhere.
    """
    machine_code = njit(nogil=True)(function)
    with suppress(RuntimeError):  # "no locator available": nowhere to keep it
        machine_code._cache = _Cache(function)
    return machine_code  # type: ignore[no-any-return]


class _Cache(FunctionCache):  # type: ignore[misc]
    """numba's own, which costs time and not the build where its files are damaged or cannot be written."""

    def load_overload(self, *key: Any) -> Any:
        """The machine code, or None: it must be compiled."""
        try:
            return super().load_overload(*key)
        except Exception:
            with suppress(Exception):
                self.flush()  # else what is compiled now could not be kept either
            return None

    def save_overload(self, *entry: Any) -> None:
        """Keep machine code, if it can be."""
        with suppress(Exception):
            super().save_overload(*entry)
