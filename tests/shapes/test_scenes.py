"""The procedural scenes: the split, the captions, the drawing."""

from __future__ import annotations

import numpy as np
import pytest

from sdbuild.shapes.scenes import (
    FULL_TEMPLATES,
    HELD_OUT_COUNT,
    RESOLUTION,
    Scene,
    all_scenes,
    held_out_scenes,
    parse_caption,
    render,
    training_scenes,
)


def test_every_combination_exists_once() -> None:
    scenes = all_scenes()
    assert len(scenes) == len(set(scenes)) == 3 * 8 * 4 * 7
    assert all(scene.colour != scene.background for scene in scenes)


def test_held_out_captions_are_disjoint_from_training() -> None:
    held, trained = set(held_out_scenes()), set(training_scenes())
    assert len(held) == HELD_OUT_COUNT == 200
    assert not held & trained
    assert held | trained == set(all_scenes())


def test_held_out_split_is_the_one_the_model_was_trained_with() -> None:
    # The split is part of the model's record: another one would make its score a lie.
    assert held_out_scenes()[0].caption() == "a large red cross on a green background"
    assert held_out_scenes()[-1].caption() == "a small yellow square on a black background"


def test_every_attribute_value_is_in_both_parts() -> None:
    for part in (held_out_scenes(), training_scenes()):
        for name, count in (("size", 3), ("colour", 8), ("shape", 4), ("background", 8)):
            assert len({getattr(scene, name) for scene in part}) == count


def test_captions_read_as_english_and_parse_back() -> None:
    scene = Scene("large", "orange", "cross", "orange")
    assert Scene("large", "red", "circle", "blue").caption() == ("a large red circle on a blue background")
    assert scene.caption("a {colour} {shape} on a {background} background") == (
        "an orange cross on an orange background"
    )
    for template in FULL_TEMPLATES:
        for chosen in all_scenes()[::97]:
            assert parse_caption(chosen.caption(template)) == chosen


def test_a_caption_that_leaves_something_open_does_not_parse() -> None:
    with pytest.raises(ValueError, match="all four attributes"):
        parse_caption("a red circle")


def test_drawing_is_deterministic_and_seeded() -> None:
    scenes = list(all_scenes()[::50])
    first, _ = render(scenes, np.random.default_rng(3))
    again, _ = render(scenes, np.random.default_rng(3))
    other, _ = render(scenes, np.random.default_rng(4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_pictures_are_antialiased_and_in_range() -> None:
    images, distance = render([Scene("large", "white", "circle", "black")], np.random.default_rng(0), jitter=False)
    assert images.shape == (1, RESOLUTION, RESOLUTION, 3)
    assert images.dtype == np.float32
    assert images.min() >= 0 and images.max() <= 1
    assert distance.shape == images.shape[:3]
    # An outline has pixels between the two colours, a plain mask would have none.
    grey = images[0, :, :, 0]
    assert ((grey > 0.2) & (grey < 0.8)).sum() > 20
    # Without jitter the circle is symmetric in both axes.
    assert np.allclose(grey, grey[::-1], atol=1e-5)
    assert np.allclose(grey, grey[:, ::-1], atol=1e-5)
