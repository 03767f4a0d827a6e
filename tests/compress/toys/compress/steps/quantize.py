import numpy as np

from sdbuild.compress.lookup import pack
from sdbuild.compress.selection import Settings
from sdbuild.coreml.encodings import Codes, Dense, Encoding, Quantized, Sparse
from sdbuild.coreml.rewrite import Weight


def apply(weight: Weight, encoding: Encoding, settings: Settings) -> Encoding:
    """Of what is there, or of what a mask keeps."""
    bits, data = settings["bits"], weight.data.astype(np.float32)
    others = tuple(axis for axis in range(data.ndim) if axis != weight.users[0].axis)
    scale = (np.abs(data).max(others, keepdims=True) / ((1 << bits - 1) - 1)).astype(np.float16)
    values = np.rint(data / scale.astype(np.float32)).astype(np.int8)
    match encoding:
        case Dense():
            return Quantized(_codes(values, bits), scale)
        case Sparse(mask, Dense()):
            kept = np.unpackbits(mask.packed, bitorder="little")[: data.size].reshape(data.shape) != 0
            return Sparse(mask, Quantized(_codes(values[kept], bits), scale))
    raise TypeError(f"{weight.name}: quantize needs numbers, not {type(encoding).__name__}")


def _codes(values: np.ndarray, bits: int) -> Codes:
    packed = (values.reshape(-1).astype(np.int32) & ((1 << bits) - 1)).astype(np.uint8)
    pack(packed, bits)
    return Codes(f"int{bits}", packed[: -(-values.size * bits // 8)], values.shape)
