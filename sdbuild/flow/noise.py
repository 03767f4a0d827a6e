"""Random numbers: NumPy's as Apple's packages draw them, or torch's as diffusers draws them."""

import numpy as np
import torch

from sdbuild.flow.facts import Rng


class Noise:
    """The random numbers of one image; the same seed gives the same ones on every machine."""

    def __init__(self, rng: Rng, seed: int) -> None:
        """Start at ``seed``, from 0 to 2³² - 1.

        "numpy" is the legacy Mersenne Twister of ``numpy.random.seed`` and ``randn``, which the Swift package carries a copy
        of: float64, rounded to float32 as there. (Apple's Python pipeline rounds on to float16, as the UNet's input does.)
        """
        self.rng = rng
        self._numpy = np.random.RandomState(seed)
        self.generator = torch.Generator().manual_seed(seed)
        """For schedulers that add noise in their steps: torch's with either ``rng``, for diffusers' know no other."""

    def normal(self, *shape: int) -> torch.Tensor:
        """Standard normal numbers, float32."""
        if self.rng == "numpy":
            return torch.from_numpy(self._numpy.standard_normal(shape).astype(np.float32))
        return torch.randn(shape, generator=self.generator)
