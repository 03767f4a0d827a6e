"""Compile numeric loops to machine code with numba."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` at its first call; threads run it side by side.

    The machine code is kept for later processes beside the source or in the user's cache folder, and is compiled anew
    where neither can be written. Arithmetic is IEEE's, operation by operation, so that results are the same everywhere.
    """
    machine_code: Callable[P, R]
    try:
        machine_code = njit(cache=True, nogil=True)(function)
    except RuntimeError:  # "no locator available": nowhere to keep it
        machine_code = njit(nogil=True)(function)
    return machine_code
