"""Marks that trainers leave beside a UNet's weights: tensors by a name alone, which say how it was trained."""

import json
import struct
from pathlib import Path

MARKERS = frozenset({"v_pred", "ztsnr"})
"""That the UNet predicts v, and that its schedule ends in noise alone (zero terminal signal-to-noise ratio)."""

_MOST = 100 << 20  # bytes of a header, as the format's own library has it


def markers_in(folder: Path) -> frozenset[str]:
    """Those of `MARKERS` in the headers of a folder's safetensors files, however a checkpoint's nest is called before them.

    A file that can't be read has none here: what is wrong with it is for those to say who need its weights.
    """
    found: set[str] = set()
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(length)) if length <= _MOST else {}
        except (OSError, struct.error, ValueError, RecursionError):
            continue
        found.update(name.rpartition(".")[2] for name in header if isinstance(header, dict))
    return frozenset(found & MARKERS)
