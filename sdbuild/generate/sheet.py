"""Several images on one sheet, with captions."""

import math
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from sdbuild.generate.images import GeneratedImage

_MARGIN, _TEXT, _LINES = 16, 14, 3
_SMALLEST, _LARGEST = 160, 512
_PIXELS = 64e6  # of all tiles: what image viewers open without trouble
_PAPER, _INK, _FAINT = (255, 255, 255), (20, 20, 20), (110, 110, 110)


@dataclass(frozen=True)
class Row:
    """Images side by side, each with its heading, under one caption."""

    caption: str
    tiles: Sequence[tuple[str, GeneratedImage]]


def make_sheet(rows: Sequence[Row]) -> Image.Image:
    """Lay images out in rows. Tiny ones are enlarged by whole factors, large ones made smaller."""
    images = [image for row in rows for _, image in row.tiles]
    height, width = (max(image.pixels.shape[axis] for image in images) for axis in (0, 1))
    scale = _scale(max(height, width), len(images))
    tile = _scaled(width, height, scale)
    resampling = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    font = ImageFont.load_default(_TEXT)
    line = _TEXT + 4
    columns = max(len(row.tiles) for row in rows)
    total = columns * (tile[0] + _MARGIN) + _MARGIN
    captions = [_wrapped(row.caption, total - 2 * _MARGIN, font) for row in rows]
    heights = [(len(caption) + 1) * line + tile[1] + _MARGIN for caption in captions]
    sheet = Image.new("RGB", (total, sum(heights) + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    top = _MARGIN
    for row, caption, used in zip(rows, captions, heights, strict=True):
        draw.multiline_text((_MARGIN, top), "\n".join(caption), _INK, font, spacing=4)
        under = top + len(caption) * line
        for column, (heading, image) in enumerate(row.tiles):
            left = _MARGIN + column * (tile[0] + _MARGIN)
            draw.text((left, under), _fitting(heading, tile[0], font), _FAINT, font)
            own = _scaled(*image.pillow.size, scale)
            sheet.paste(image.pillow.resize(own, resampling), (left, under + line))
        top += used
    return sheet


def common(images: Sequence[GeneratedImage]) -> Mapping[str, str]:
    """The metadata that all images agree on."""
    first = images[0].metadata
    return {key: value for key, value in first.items() if all(image.metadata.get(key) == value for image in images)}


def _scaled(width: int, height: int, scale: float) -> tuple[int, int]:
    return max(1, round(width * scale)), max(1, round(height * scale))


def _scale(edge: int, count: int) -> float:
    if edge < _SMALLEST:
        return math.ceil(_SMALLEST / edge)
    return min(1.0, _LARGEST / edge, math.sqrt(_PIXELS / count) / edge)


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _wrapped(text: str, width: int, font: Font) -> list[str]:
    """A few lines that fit; the rest is cut off."""
    letters = max(8, int(width / font.getlength("n")))
    lines = textwrap.wrap(_ascii(text), letters, max_lines=_LINES, placeholder=" ...")
    return [_fitting(line, width, font) for line in lines]


def _fitting(text: str, width: int, font: Font) -> str:
    text = _ascii(text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


def _ascii(text: str) -> str:
    """What the font that comes with Pillow has: é as e, others as question marks."""
    parts = unicodedata.normalize("NFKD", text)
    return "".join(c if c.isascii() else "?" for c in parts if not unicodedata.combining(c))
