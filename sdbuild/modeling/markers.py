"""Marks that trainers leave beside a UNet's weights: tensors by a name alone, which say how it was trained."""

from collections.abc import Iterable
from pathlib import Path

from sdbuild.errors import UserError
from sdbuild.sources.contents import are_safetensors, opening
from sdbuild.sources.header import header_of

MARKERS = frozenset({"v_pred", "ztsnr"})
"""That the UNet predicts v, and that its schedule ends in noise alone (zero terminal signal-to-noise ratio)."""


def markers_in(folder: Path) -> frozenset[str]:
    """Those of `MARKERS` in a folder's weight files, however a checkpoint's nest is called before them.

    A file that can't be read has none here: what is wrong with it is for those to say who need its weights.
    """
    found: set[str] = set()
    for path in sorted((*folder.glob("*.safetensors"), *folder.glob("*.bin"))):
        try:
            found.update(name.rpartition(".")[2] for name in _names(path))
        except (OSError, UserError):
            continue
    return frozenset(found & MARKERS)


def _names(path: Path) -> Iterable[str]:
    if are_safetensors(str(path), path.name, opening(path)):
        return header_of(path)
    from sdbuild.modeling.pickles import load_state  # torch, which nothing else here needs

    return load_state(path)
