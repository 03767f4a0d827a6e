"""Images are read and written with care."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sdbuild.errors import UserError
from sdbuild.generate import GeneratedImage
from sdbuild.generate.images import read_image

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
METADATA = {"prompt": "a café, 日本\nand more", "seed": "93", "recipe": "shapes"}


def test_a_png_with_metadata(tmp_path: Path) -> None:
    path = GeneratedImage(PIXELS, METADATA).save(tmp_path / "new" / "a.png")
    with Image.open(path) as image:
        image.load()
        assert image.text == METADATA
        assert list(image.text) == list(METADATA)
        assert np.array_equal(np.asarray(image), PIXELS)
    content = path.read_bytes()
    assert b"tEXtseed\x0093" in content
    assert b"tIME" not in content


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    one, other = (GeneratedImage(PIXELS, METADATA).save(tmp_path / name) for name in ("a.png", "b.PNG"))
    assert one.read_bytes() == other.read_bytes()


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    for path, message in (
        (tmp_path / "a.jpg", "images are written as PNG"),
        (tmp_path / "file" / "a.png", "cannot be written"),
        (tmp_path / "folder.png", "cannot be written"),
    ):
        with pytest.raises(UserError, match=message):
            GeneratedImage(PIXELS).save(path)


def test_an_image_to_start_from(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path)
    start = read_image(path, 16, 24)
    assert np.array_equal(start.pixels, PIXELS)
    assert start.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_it_is_scaled_and_cropped_to_its_middle(tmp_path: Path) -> None:
    image = Image.new("RGB", (300, 100), (255, 0, 0))
    image.paste((0, 0, 255), (100, 0, 200, 100))
    image.save(tmp_path / "wide.png")
    start = read_image(tmp_path / "wide.png", 64, 64)
    assert start.pixels.shape == (64, 64, 3)
    assert (start.pixels[:, 5:-5] == (0, 0, 255)).all()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK", "I;16"])
def test_any_kind_of_image(tmp_path: Path, mode: str) -> None:
    ending = "tif" if mode == "CMYK" else "png"
    image = (
        Image.fromarray(PIXELS[..., 0].astype(np.uint16)) if mode == "I;16" else Image.fromarray(PIXELS).convert(mode)
    )
    image.save(tmp_path / f"a.{ending}")
    start = read_image(tmp_path / f"a.{ending}", 8, 8)
    assert (start.pixels.shape, start.pixels.dtype) == ((8, 8, 3), np.uint8)


RAMP = np.linspace(0, 1, 64).reshape(8, 8)


@pytest.mark.parametrize(
    ("pixels", "name"),
    [
        (np.round(RAMP * 65535).astype(np.uint16), "deep.png"),
        (np.round(RAMP * 65535).astype(np.uint16), "deep.tiff"),
        (np.round(RAMP * 65535).astype(">u2"), "big-endian.tiff"),
        (np.round(RAMP * 65535).astype(np.int32), "whole.tiff"),
        (np.round(RAMP * 255).astype(np.int32), "small.tiff"),
        (RAMP.astype(np.float32), "real.tiff"),
        ((RAMP * 255).astype(np.float32), "large.tiff"),
    ],
)
def test_gray_of_many_bits_is_converted_by_its_range(pixels: Any, name: str, tmp_path: Path) -> None:
    Image.fromarray(pixels).save(tmp_path / name)
    found = read_image(tmp_path / name, 8, 8).pixels
    np.testing.assert_allclose(found, np.repeat(RAMP[..., None] * 255, 3, axis=2), atol=0.6)


@pytest.mark.parametrize(
    ("pixels", "numbers"),
    [
        (RAMP.astype(np.float32) * 1.5, "from 0 to 1.5"),
        (RAMP.astype(np.float32) - 0.5, "from -0.5 to 0.5"),
        (RAMP.astype(np.float32) * 1e4, "from 0 to 10000"),
        (RAMP.astype(np.float32) * np.nan, "from nan to nan"),
        ((RAMP * 2e9).astype(np.int32), "from 0 to 2e\\+09"),
        (-(RAMP * 9).astype(np.int32), "from -9 to 0"),
    ],
)
def test_gray_of_no_known_range_is_refused(pixels: Any, numbers: str, tmp_path: Path) -> None:
    Image.fromarray(pixels).save(tmp_path / "odd.tiff")
    with pytest.raises(UserError, match=f"odd.tiff: holds numbers {numbers}, and which of them is white is not known"):
        read_image(tmp_path / "odd.tiff", 8, 8)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        (Image.new("RGBA", (8, 8), (9, 9, 9, 0)), "rgba.png"),
        (Image.new("LA", (8, 8), (9, 0)), "la.png"),
        (Image.new("RGBA", (8, 8), (9, 9, 9, 0)).convert("P"), "palette.gif"),
    ],
)
def test_white_shows_where_it_is_transparent(image: Image.Image, name: str, tmp_path: Path) -> None:
    image.save(tmp_path / name, **({"transparency": image.getpixel((0, 0))} if image.mode == "P" else {}))
    assert (read_image(tmp_path / name, 8, 8).pixels == 255).all()


def test_colours_that_are_not_red_green_blue(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "cmyk.tiff")
    assert (read_image(tmp_path / "cmyk.tiff", 8, 8).pixels == [255, 0, 0]).all()
    Image.new("LAB", (8, 8)).save(tmp_path / "lab.tiff")
    with pytest.raises(UserError, match="its colours are LAB: save it as RGB"):
        read_image(tmp_path / "lab.tiff", 8, 8)


def test_a_photo_lying_on_its_side(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png", 24, 16).pixels, np.rot90(PIXELS, -1))


def test_what_is_no_image(tmp_path: Path) -> None:
    whole = tmp_path / "whole.png"
    Image.fromarray(PIXELS).save(whole)
    (tmp_path / "half.png").write_bytes(whole.read_bytes()[:200])
    (tmp_path / "text.png").write_text("an image")
    for name, message in (
        ("half.png", "cannot be read|damaged"),
        ("text.png", "not an image in a format"),
        ("none.png", "No such file"),
        (".", "cannot be read"),
    ):
        with pytest.raises(UserError, match=f"image=.*({message})"):
            read_image(tmp_path / name, 8, 8)
