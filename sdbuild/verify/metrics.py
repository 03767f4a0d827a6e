"""How far two arrays are apart: PSNR, maximum error, cosine similarity."""

from dataclasses import dataclass

import numpy as np

from sdbuild.arrays import Array

CEILING = 100.0
"""dB. Above it two results differ by the order in which float32 sums were taken, which changes with the machine."""


@dataclass(frozen=True)
class Difference:
    """How far a result is from its original.

    Attributes:
        psnr: in dB, at most `CEILING`; minus infinity where one of the two has infinities or NaNs and the other has others.
        max_error: the largest difference, as a share of the original's largest magnitude.
        cosine: similarity of the two as vectors, 1 for the same direction.
    """

    psnr: float
    max_error: float
    cosine: float


def compare(original: Array, result: Array) -> Difference:
    """Measure ``result`` against ``original``, arrays of the same shape."""
    if np.array_equal(original, result, equal_nan=True):
        return Difference(CEILING, 0.0, 1.0)
    if not (np.isfinite(original).all() and np.isfinite(result).all()):
        return Difference(-np.inf, np.inf, 0.0)
    a, b = original.astype(np.float64).ravel(), result.astype(np.float64).ravel()
    peak = float(np.abs(a).max())
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return Difference(
        psnr(a, b, peak),
        float(np.abs(a - b).max()) / peak if peak else np.inf,
        float(a @ b) / lengths if lengths else 0.0,
    )


def psnr(original: Array, result: Array, peak: float) -> float:
    """Peak signal to noise ratio, in dB: 20 log10((peak + 1e-5) / (rms(original - result) + 1e-10)), to 0.01 dB.

    It is at most `CEILING`, and minus infinity where either array is not finite.

    That is ``compute_psnr`` of ``python_coreml_stable_diffusion.torch2coreml`` (apple/ml-stable-diffusion @e12202c), which
    fails a conversion below 35 dB, with one change. There the peak is the largest magnitude of the converted model's
    output; here, given by the caller, it is the original's: else one number gone astray among 16,384 would raise the peak
    along with the noise, and score 42 dB however large it is.
    """
    noise = float(np.sqrt(np.mean(np.square(original.astype(np.float64) - result))))
    if not np.isfinite(noise):
        return -np.inf
    return round(min(CEILING, float(20 * np.log10((peak + 1e-5) / (noise + 1e-10)))), 2)
