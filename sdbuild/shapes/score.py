"""Classical check of what a picture shows: colour segmentation and template overlap.

No neural network is involved, so a generated picture is judged by plain geometry: the
border gives the background's colour, the pixels unlike it the object's, their share of
every pixel an outline, and the shape is the one whose ideal outline of the same area and
centroid overlaps it best.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sdbuild.shapes.scenes import COLOURS, PALETTE, RADII, RESOLUTION, SHAPES, SIZES, Floats, Scene, coverage

ATTRIBUTES = ("size", "colour", "shape", "background")
# A colour further than this (RGB distance, 0..1 scale) from every palette entry is no match.
MAX_COLOUR_DISTANCE = 0.25
# Soft overlap (intersection over union) below which the outline is no clean shape at all.
MIN_OVERLAP = 0.80
# A pixel this far from every mix of the two colours is a stain; more than this share of
# stained pixels, and the picture is no clean one.
STAIN_DISTANCE, MAX_STAINED = 0.2, 0.01
# Area in units of radius^2, and centroid below the bounding box's middle in radii.
_AREA = {"circle": np.pi, "square": 2.89, "triangle": 1.8706, "cross": 2.2576}
_CENTROID = {"circle": 0.0, "square": 0.0, "triangle": 0.3, "cross": 0.0}
_PALETTE = np.array([PALETTE[c] for c in COLOURS], dtype=np.float32) / 255


@dataclass(frozen=True)
class Finding:
    """What the check sees in one picture; `None` where it sees nothing clear."""

    size: str | None
    colour: str | None
    shape: str | None
    background: str | None
    overlap: float

    def matches(self, scene: Scene) -> dict[str, bool]:
        """Whether each attribute is the caption's."""
        return {name: getattr(self, name) == getattr(scene, name) for name in ATTRIBUTES}

    def is_right(self, scene: Scene) -> bool:
        """Whether all four attributes are the caption's."""
        return all(self.matches(scene).values())


def _nearest_colour(rgb: Floats) -> str | None:
    distance = np.linalg.norm(_PALETTE - rgb, axis=1)
    best = int(distance.argmin())
    return COLOURS[best] if distance[best] <= MAX_COLOUR_DISTANCE else None


def _size_of(radius: float) -> str:
    limits = [(RADII[a][1] + RADII[b][0]) / 2 for a, b in pairwise(SIZES)]
    return SIZES[sum(radius > limit for limit in limits)]


def check(image: Floats) -> Finding:
    """What one picture, float [64, 64, 3] in 0..1, shows."""
    image = np.asarray(image, dtype=np.float32)
    border = np.concatenate(
        [
            image[:2].reshape(-1, 3),
            image[-2:].reshape(-1, 3),
            image[2:-2, :2].reshape(-1, 3),
            image[2:-2, -2:].reshape(-1, 3),
        ]
    )
    ground = np.median(border, axis=0)
    background = _nearest_colour(ground)
    contrast = np.linalg.norm(image - ground, axis=2)
    # The object's own colour: the pixels most unlike the background, away from the outline.
    inside = contrast > max(0.15, 0.6 * float(np.quantile(contrast, 0.97)))
    if inside.sum() < 40:
        return Finding(None, None, None, background, 0.0)
    paint = np.median(image[inside], axis=0)
    colour = _nearest_colour(paint)
    direction = paint - ground
    alpha = np.clip((image - ground) @ direction / float(direction @ direction), 0, 1)
    stain = np.linalg.norm(image - ground - alpha[..., None] * direction, axis=2) > STAIN_DISTANCE
    if stain.mean() > MAX_STAINED:
        return Finding(None, colour, None, background, 0.0)
    # Sampling and decoding leave a faint ripple; below a tenth it is no part of the object.
    alpha = np.where(alpha < 0.1, 0, alpha).astype(np.float32)
    area = float(alpha.sum())
    axis = np.arange(RESOLUTION, dtype=np.float32) + 0.5
    cx, cy = float((alpha * axis).sum()) / area, float((alpha * axis[:, None]).sum()) / area
    best = ("", 0.0, 0.0)
    for shape in SHAPES:
        radius = float(np.sqrt(area / _AREA[shape]))
        ideal = coverage(
            shape,
            np.array([cx], dtype=np.float32),
            np.array([cy - _CENTROID[shape] * radius], dtype=np.float32),
            np.array([radius], dtype=np.float32),
        )[0]
        overlap = float(np.minimum(alpha, ideal).sum() / np.maximum(alpha, ideal).sum())
        if overlap > best[1]:
            best = (shape, overlap, radius)
    shape, overlap, radius = best
    if overlap < MIN_OVERLAP:
        return Finding(None, colour, None, background, overlap)
    return Finding(_size_of(radius), colour, shape, background, overlap)


def tally(images: Floats, scenes: list[Scene]) -> dict[str, float]:
    """Share of right pictures by attribute and overall, for images [N, 64, 64, 3] in 0..1."""
    rows = [check(image).matches(scene) for image, scene in zip(images, scenes, strict=True)]
    result = {name: float(np.mean([row[name] for row in rows])) for name in ATTRIBUTES}
    result["all"] = float(np.mean([all(row.values()) for row in rows]))
    return result


def format_tally(result: dict[str, float]) -> str:
    """One line for a log: "size 95.0 % colour 99.0 % ... all 90.0 %"."""
    return "  ".join(f"{name} {100 * share:.1f} %" for name, share in result.items())
