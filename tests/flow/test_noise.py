"""Random numbers are those that Apple's packages and diffusers draw."""

import numpy as np
import torch

from sdbuild.flow.noise import Noise


def test_numpys_numbers() -> None:
    np.random.seed(93)
    wanted = np.random.randn(1, 4, 8, 8)
    assert np.array_equal(Noise("numpy", 93).normal(1, 4, 8, 8).numpy(), wanted.astype(np.float32))
    # The numbers that the Swift package tests its own copy of the generator with.
    last = Noise("numpy", 12345).normal(10_000)[-5:].numpy()
    assert np.allclose(last, [-0.86285345, 2.15229409, -0.00670556, -1.21472309, 0.65498866], atol=1e-7)


def test_torchs_numbers() -> None:
    generator = torch.Generator().manual_seed(93)
    noise = Noise("torch", 93)
    for _ in range(2):
        assert torch.equal(noise.normal(1, 4, 8, 8), torch.randn((1, 4, 8, 8), generator=generator))
    # The steps go on where the noise ended, as in diffusers.
    assert torch.equal(torch.randn(3, generator=noise.generator), torch.randn(3, generator=generator))


def test_the_largest_seed() -> None:
    assert np.isfinite(Noise("numpy", 2**32 - 1).normal(4).numpy()).all()
