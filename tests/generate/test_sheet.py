"""Contact sheets."""

import numpy as np
import pytest

from sdbuild.generate import GeneratedImage
from sdbuild.generate.sheet import Row, common, make_sheet


def plain(colour: tuple[int, int, int], size: tuple[int, int] = (64, 96), **metadata: str) -> GeneratedImage:
    return GeneratedImage(np.full((*size, 3), colour, np.uint8), metadata)


RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def boxes(sheet: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Top, left, height and width of an area, which must be one filled rectangle."""
    rows, columns = np.nonzero((sheet == colour).all(-1))
    top, left, height, width = rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1
    assert len(rows) == height * width
    return int(top), int(left), int(height), int(width)


def test_images_in_rows_enlarged_by_a_whole_factor() -> None:
    rows = [Row("first", [("a", plain(RED)), ("b", plain(GREEN))]), Row("second", [("a", plain(BLUE))])]
    sheet = np.asarray(make_sheet(rows))
    red, green, blue = (boxes(sheet, colour) for colour in (RED, GREEN, BLUE))
    assert red[2:] == green[2:] == blue[2:] == (128, 192)
    assert (red[0], red[1]) == (green[0], blue[1])
    assert red[1] + 192 < green[1]
    assert red[0] + 128 < blue[0]
    captions = sheet[: red[0]]
    assert (captions < 100).any()  # something is written above


def test_large_images_are_made_smaller() -> None:
    sheet = make_sheet([Row("", [("", plain(RED, (1024, 768)))])])
    assert boxes(np.asarray(sheet), RED)[2:] == (512, 384)


def test_variants_of_another_size_keep_their_shape() -> None:
    tiles = [("a", plain(RED, (64, 64))), ("b", plain(GREEN, (32, 96)))]
    sheet = np.asarray(make_sheet([Row("", tiles)]))
    assert boxes(sheet, RED)[2:] == (128, 128)
    assert boxes(sheet, GREEN)[2:] == (64, 192)


def test_many_images_are_made_smaller_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdbuild.generate.sheet._PIXELS", 20 * 200 * 200)
    sheet = make_sheet(
        [Row("x", [("", plain(RED, (400, 400)))] * 5)] * 3 + [Row("x", [("", plain(BLUE, (400, 400)))] * 5)]
    )
    assert (np.asarray(sheet) == RED).all(-1).sum() == 15 * 200 * 200


def test_long_and_foreign_captions_stay_inside() -> None:
    caption = "a very long prompt 日本 café " * 50
    sheet = make_sheet([Row(caption, [("a heading that is far too long for a tile", plain(RED))])])
    short = make_sheet([Row("x", [("a", plain(RED))])])
    assert sheet.width == short.width
    assert short.height < sheet.height < short.height + 100
    edge = np.asarray(sheet)[:, -8:]
    assert (edge == 255).all()


def test_the_metadata_that_all_agree_on() -> None:
    images = [plain(RED, recipe="shapes", seed="1"), plain(RED, recipe="shapes", seed="2")]
    assert common(images) == {"recipe": "shapes"}
