"""A generated image, and how images are read and written."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from sdbuild.arrays import Array
from sdbuild.errors import UsageError, UserError
from sdbuild.standins import ENOUGH, stand_in


@dataclass(frozen=True)
class GeneratedImage:
    """An image, and what it was generated from.

    Attributes:
        pixels: uint8 [height, width, 3], RGB.
        metadata: in the order in which the PNG holds it.
        notes: what the user should know of it.
        withheld: the bundle's safety checker found that it should not be shown; ``pixels`` are black.
    """

    pixels: Array
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    withheld: bool = False

    @property
    def pillow(self) -> Image.Image:
        """As an image of Pillow."""
        return Image.fromarray(self.pixels)

    def save(self, path: str | Path) -> Path:
        """Write a PNG with the metadata in it as text; the same image gives the same bytes.

        Raises:
            UserError: the name has another ending, it cannot be written, or the image is withheld.
        """
        path = Path(path)
        if self.withheld:
            raise UserError(f"{path}: withheld: the bundle's safety checker found that this image should not be shown")
        if path.suffix.lower() != ".png":
            raise UserError(f"{path}: images are written as PNG: give it a name that ends in .png")
        write_png(self.pillow, path, self.metadata)
        return path


def write_png(image: Image.Image, path: Path, metadata: Mapping[str, str]) -> None:
    """Write it with ``metadata`` as tEXt, or iTXt where Latin-1 is not enough, and no date.

    Raises:
        UserError: it cannot be written.
    """
    text = PngInfo()
    for key, value in metadata.items():
        text.add_text(key, value)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, "PNG", pnginfo=text, optimize=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None


@dataclass(frozen=True)
class Start:
    """An image to start from.

    Attributes:
        pixels: uint8 [height, width, 3], RGB.
        sha256: of the file.
    """

    pixels: Array
    sha256: str


def read_image(path: Path, height: int, width: int) -> Start:
    """Read an image, scaled so that it covers ``height`` × ``width``, and cropped to its middle.

    Where it is transparent, white shows. Gray of more than 8 bits is brought to 8 by its range.

    Raises:
        UserError: it is missing, not an image, or of a range that is not known.
    """
    try:
        content = path.read_bytes()
        with Image.open(path) as image:
            upright = _in_rgb(ImageOps.exif_transpose(image), path)
    except UnidentifiedImageError:
        wrong = stand_in(content[:ENOUGH])
        what = f"it {wrong}" if wrong else "not an image in a format that Pillow reads"
        raise UsageError(f"image={path}: {what}") from None
    except OSError as error:
        raise UsageError(f"image={path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(f"image={path}: damaged ({error})") from None
    fitted = ImageOps.fit(upright, (width, height), Image.Resampling.LANCZOS)
    return Start(np.asarray(fitted), hashlib.sha256(content).hexdigest())


def _in_rgb(image: Image.Image, path: Path) -> Image.Image:
    """8 bits a channel; Pillow itself cuts off what is above 255, and takes 1.0 for nearly black."""
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_in_8_bits(image, path)).convert("RGB")
    if image.mode in ("LAB", "HSV"):
        raise UsageError(f"image={path}: its colours are {image.mode}: save it as RGB")
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), colours).convert("RGB")
    return image.convert("RGB")


def _in_8_bits(image: Image.Image, path: Path) -> Array:
    """Gray of 16 or 32 bits, whole or real numbers: by the range of the type where there is one, else by what is there."""
    gray = np.asarray(image).astype(np.float64)
    low, high = float(gray.min()), float(gray.max())
    ranges = {"F": (1.0, 255.0), "I": (255.0, 65535.0)}.get(image.mode, (65535.0,))
    fitting = [top for top in ranges if high <= top]
    # Real numbers a little above 1 are light beyond white, not the darkest eighth of 8 bits.
    unclear = image.mode == "F" and 1 < high < 32
    if not (low >= 0 and fitting) or unclear:
        known = " or ".join(f"0 to {top:g}" for top in ranges)
        raise UsageError(
            f"image={path}: holds numbers from {low:g} to {high:g}, and which of them is white is not known ({known} would "
            "be): save it with 8 or 16 bits"
        )
    pixels: Array = np.round(gray * (255 / fitting[0])).astype(np.uint8)
    return pixels
