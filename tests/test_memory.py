"""How a process holds memory."""

import platform
import subprocess
import sys

import pytest

_PROGRAM = """
import resource

import numpy as np
from sdbuild.memory import return_freed_blocks, reuse_freed_blocks

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() >> 20

reuse_freed_blocks()
empty = resident()
np.ones(64 << 20, np.uint8)  # a large block
after = resident()
blocks = [np.ones(8 << 20, np.uint8) for _ in range(40)]
last = blocks[-1]  # what lies behind the others keeps them from being returned
full = resident()
del blocks
kept = resident()
return_freed_blocks()
print(full, kept, resident(), empty, after)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_freed_blocks_are_kept_until_they_are_returned_but_for_large_ones() -> None:
    ended = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    full, kept, returned, empty, after = map(int, ended.stdout.split())
    assert kept > full - 64
    assert returned < full - 256
    assert returned > 8
    assert after < empty + 32
