"""How a process holds memory."""

import ctypes
import gc
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_REUSED, _KEPT = 16 << 20, 128 << 20


def reuse_freed_blocks() -> None:
    """Have glibc take blocks of up to 16 MiB from memory that was freed before, and keep 128 MiB of it.

    Stages return every block of 1 MiB or more to the system at once, which costs little where a tensor is read and written.
    Running a network makes and drops thousands of them: zeroing new pages for each is then a fifth of all its time. Of larger
    blocks there are few; among small ones they would leave holes, which a limit such as RLIMIT_DATA counts after they were
    given back (of a UNet of SDXL at 768x768 1.0 GiB, where blocks of 64 MiB left 1.9 GiB).
    """
    with suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, _REUSED)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)


def return_freed_blocks() -> None:
    """Give the system all memory that was freed and is kept to be used again, for example when a network was let go.

    What the next one takes in blocks above 16 MiB comes from the system; without this, what the last one left is held beside
    it. A network of PyTorch's may be in a circle of references, and is gone only when Python has looked for those.
    """
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
