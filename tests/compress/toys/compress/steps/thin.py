import numpy as np

from sdbuild.compress.selection import Settings
from sdbuild.coreml.encodings import Codes, Dense, Encoding, Sparse
from sdbuild.coreml.rewrite import Weight


def apply(weight: Weight, encoding: Encoding, settings: Settings) -> Encoding:
    assert isinstance(encoding, Dense)
    size = np.abs(encoding.data.astype(np.float32))
    mask = size > np.quantile(size, 1 - settings["keep"])
    return Sparse(Codes("uint1", np.packbits(mask, bitorder="little"), mask.shape), Dense(encoding.data[mask]))
