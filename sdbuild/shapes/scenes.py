"""Procedural captioned scenes: one anti-aliased shape on a plain background.

Everything is drawn from signed distance functions with numpy, so the data set needs no
download and no licence: 3 sizes x 8 colours x 4 shapes x 7 other background colours are
672 attribute combinations, of which 200 are held out from the training of the UNet.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESOLUTION = 64
SHAPES = ("circle", "square", "triangle", "cross")
SIZES = ("small", "medium", "large")
# Radius range in pixels of every size; the gaps are what lets the check tell them apart.
RADII: dict[str, tuple[float, float]] = {
    "small": (10.0, 11.0),
    "medium": (15.0, 16.5),
    "large": (22.0, 24.0),
}
PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 165, 60),
    "blue": (40, 80, 225),
    "yellow": (245, 225, 50),
    "purple": (145, 50, 185),
    "orange": (245, 135, 25),
    "white": (245, 245, 245),
    "black": (20, 20, 20),
}
COLOURS = tuple(PALETTE)
# Pixels an object's centre may lie off the middle of the picture, on each axis.
JITTER = 4.0
HELD_OUT_COUNT = 200

MAIN_TEMPLATE = "a {size} {colour} {shape} on a {background} background"
FULL_TEMPLATES = (
    MAIN_TEMPLATE,
    "{size} {colour} {shape} on a {background} background",
    "{size} {colour} {shape} on {background}",
    "{colour} {shape} {size} {background} background",
    "a {background} background with a {size} {colour} {shape}",
    "a picture of a {size} {colour} {shape} on a {background} background",
)
# Captions that leave an attribute open: any value of it is then a right answer.
PARTIAL_TEMPLATES = (
    "a {colour} {shape} on a {background} background",
    "a {size} {colour} {shape}",
    "a {colour} {shape}",
    "a {shape}",
)
TEMPLATES = FULL_TEMPLATES + PARTIAL_TEMPLATES

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Scene:
    """The four attributes a caption names."""

    size: str
    colour: str
    shape: str
    background: str

    def caption(self, template: str = MAIN_TEMPLATE) -> str:
        """The caption in one of the templates ("a large orange cross on a red background")."""
        text = template.format(size=self.size, colour=self.colour, shape=self.shape, background=self.background)
        return re.sub(r"\ba (?=[aeiou])", "an ", text)


@cache
def all_scenes() -> tuple[Scene, ...]:
    """All 672 combinations, in one fixed order."""
    return tuple(
        Scene(size, colour, shape, background)
        for size in SIZES
        for colour in COLOURS
        for shape in SHAPES
        for background in COLOURS
        if background != colour
    )


@cache
def held_out_scenes() -> tuple[Scene, ...]:
    """The 200 combinations whose captions the UNet never sees in training.

    Chosen by the hash of the caption, not by a random generator, so that the split is the
    same under every version of every library.
    """
    ranked = sorted(all_scenes(), key=lambda s: hashlib.sha256(s.caption().encode()).hexdigest())
    return tuple(ranked[:HELD_OUT_COUNT])


@cache
def training_scenes() -> tuple[Scene, ...]:
    """The 472 combinations the UNet is trained on."""
    held = set(held_out_scenes())
    return tuple(scene for scene in all_scenes() if scene not in held)


def parse_caption(caption: str) -> Scene:
    """The scene that a caption of a full template names."""
    words = caption.split()
    for template in FULL_TEMPLATES:
        for scene in all_scenes():
            # Cheap filter before the exact comparison.
            if scene.shape in words and scene.caption(template) == caption:
                return scene
    raise ValueError(f"not a caption that names all four attributes: {caption!r}")


def _floats(values: NDArray[Any]) -> Floats:
    return values.astype(np.float32, copy=False)


def signed_distance(shape: str, x: Floats, y: Floats, radius: Floats) -> Floats:
    """Signed distance (negative inside) of a shape, broadcast over its arguments.

    `x`, `y`: pixels from the middle of the shape's bounding box; `radius`: its nominal
    radius in pixels. All four shapes have about the same extent for the same radius.
    """
    ax, ay = np.abs(x), np.abs(y)
    if shape == "circle":
        return _floats(np.hypot(x, y) - radius)
    if shape == "square":
        return _floats(np.maximum(ax, ay) - 0.85 * radius)
    if shape == "triangle":
        half_height = 0.9 * radius
        side = np.float32(0.8660254) * ax - np.float32(0.5) * (y + half_height)
        return _floats(np.maximum(y - half_height, side))
    if shape == "cross":
        arm = 0.34 * radius
        bars = np.maximum(ax - radius, ay - arm), np.maximum(ax - arm, ay - radius)
        return _floats(np.minimum(*bars))
    raise ValueError(f"unknown shape: {shape!r}")


def coverage(shape: str, cx: Floats, cy: Floats, radius: Floats) -> Floats:
    """Share of every pixel that a shape covers: float32 [N, 64, 64] for [N] arguments."""
    distance = _distance_map(shape, cx, cy, radius)
    return _floats(np.clip(0.5 - distance, 0.0, 1.0))


def _distance_map(shape: str, cx: Floats, cy: Floats, radius: Floats) -> Floats:
    axis = np.arange(RESOLUTION, dtype=np.float32) + 0.5
    x = axis[None, None, :] - cx[:, None, None]
    y = axis[None, :, None] - cy[:, None, None]
    return signed_distance(shape, x, y, radius[:, None, None])


def render(scenes: list[Scene], rng: np.random.Generator, *, jitter: bool = True) -> tuple[Floats, Floats]:
    """Draws scenes.

    Returns images, float32 [N, 64, 64, 3] in 0..1, and the signed distance of every pixel
    to the outline, float32 [N, 64, 64]. Without `jitter` every object is centred, of its
    size's middle radius and in the palette's exact colours.
    """
    n = len(scenes)
    bounds = np.array([RADII[s.size] for s in scenes], dtype=np.float32).reshape(n, 2)
    share = rng.random(n, dtype=np.float32) if jitter else np.full(n, 0.5, dtype=np.float32)
    radius = bounds[:, 0] + share * (bounds[:, 1] - bounds[:, 0])
    centre = np.full((n, 2), RESOLUTION / 2, dtype=np.float32)
    light = np.ones((n, 2, 1), dtype=np.float32)
    if jitter:
        centre += JITTER * (2 * rng.random((n, 2), dtype=np.float32) - 1)
        light += 0.04 * (2 * rng.random((n, 2, 1), dtype=np.float32) - 1)
    rgb = np.array([(PALETTE[s.colour], PALETTE[s.background]) for s in scenes], dtype=np.float32)
    rgb = np.clip(rgb.reshape(n, 2, 3) / 255 * light, 0, 1)
    distance = np.empty((n, RESOLUTION, RESOLUTION), dtype=np.float32)
    names = np.array([s.shape for s in scenes])
    for shape in SHAPES:
        pick = np.flatnonzero(names == shape)
        if pick.size:
            distance[pick] = _distance_map(shape, centre[pick, 0], centre[pick, 1], radius[pick])
    alpha = np.clip(0.5 - distance, 0.0, 1.0)[..., None]
    images = rgb[:, 1, None, None, :] + alpha * (rgb[:, 0] - rgb[:, 1])[:, None, None, :]
    return images.astype(np.float32), distance


def draw_scenes(pool: tuple[Scene, ...], count: int, rng: np.random.Generator) -> list[Scene]:
    """`count` scenes drawn evenly, with replacement, from a pool."""
    return [pool[i] for i in rng.integers(0, len(pool), size=count)]
