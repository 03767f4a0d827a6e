"""The classical image check: it accepts the truth and rejects each wrong attribute."""

from __future__ import annotations

import numpy as np
import pytest

from sdbuild.shapes.scenes import COLOURS, SHAPES, SIZES, Scene, all_scenes, render
from sdbuild.shapes.score import ATTRIBUTES, check, tally

VALUES = {"size": SIZES, "colour": COLOURS, "shape": SHAPES, "background": COLOURS}


@pytest.mark.parametrize("seed", [0, 1])
def test_accepts_the_truth_of_every_combination(seed: int) -> None:
    scenes = list(all_scenes())
    images, _ = render(scenes, np.random.default_rng(seed))
    assert tally(images, scenes) == {**dict.fromkeys(ATTRIBUTES, 1.0), "all": 1.0}


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_rejects_each_wrong_attribute(attribute: str) -> None:
    scenes = list(all_scenes()[::7])
    images, _ = render(scenes, np.random.default_rng(2))
    for image, scene in zip(images, scenes, strict=True):
        finding = check(image)
        for value in VALUES[attribute]:
            if value == getattr(scene, attribute):
                continue
            wrong = Scene(**{**scene.__dict__, attribute: value})
            assert not finding.is_right(wrong)
            assert [n for n, right in finding.matches(wrong).items() if not right] == [attribute]


def test_an_empty_picture_has_a_background_and_nothing_else() -> None:
    finding = check(np.full((64, 64, 3), (220 / 255, 40 / 255, 40 / 255), dtype=np.float32))
    assert finding.background == "red"
    assert (finding.size, finding.colour, finding.shape) == (None, None, None)


def test_noise_and_blobs_are_no_shape() -> None:
    rng = np.random.default_rng(0)
    assert check(rng.random((64, 64, 3), dtype=np.float32)).shape is None
    # Two separate squares: colours are clear, a single clean outline there is not.
    two = np.zeros((64, 64, 3), dtype=np.float32)
    two[8:24, 8:24] = two[40:56, 40:56] = 0.96
    finding = check(two)
    assert (finding.colour, finding.background, finding.shape) == ("white", "black", None)


def test_a_stain_of_a_third_colour_spoils_the_picture() -> None:
    images, _ = render([Scene("medium", "white", "circle", "blue")], np.random.default_rng(0))
    assert check(images[0]).shape == "circle"
    images[0, 2:12, 2:12] = (0.9, 0.2, 0.1)
    assert check(images[0]).shape is None


def test_a_colour_between_two_of_the_palette_is_neither() -> None:
    images, _ = render([Scene("large", "white", "square", "blue")], np.random.default_rng(0))
    grey = np.where(images[0, :, :, :1] > 0.9, 0.5, images[0])
    assert check(grey.astype(np.float32)).colour is None


def test_soft_and_slightly_noisy_pictures_still_pass() -> None:
    scenes = list(all_scenes()[::5])
    rng = np.random.default_rng(1)
    images, _ = render(scenes, rng)
    blurred = images.copy()
    blurred[:, 1:-1, 1:-1] = (
        images[:, :-2, 1:-1] + images[:, 2:, 1:-1] + images[:, 1:-1, :-2] + images[:, 1:-1, 2:]
    ) / 4
    noisy = (blurred + rng.normal(0, 0.01, blurred.shape)).clip(0, 1).astype(np.float32)
    assert tally(noisy, scenes)["all"] >= 0.99
