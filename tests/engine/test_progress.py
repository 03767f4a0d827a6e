"""What is told while a build runs."""

import io
import os
import pty
import re
import threading

import pytest

from sdbuild.engine.progress import LiveDisplay, PlainDisplay, amount, make_display, seconds, size
from sdbuild.engine.summary import table


@pytest.mark.parametrize(
    ("count", "expected"),
    [(999, "999 B"), (1000, "1.0 kB"), (99_949, "99.9 kB"), (99_950, "100 kB"), (15e5, "1.5 MB"), (4.86e9, "4.86 GB")],
)  # fmt: skip
def test_sizes(count: float, expected: str) -> None:
    assert size(count) == expected


def test_amounts_and_times() -> None:
    assert amount(1_200_000, 3_400_000, "B") == "1.2 MB of 3.4 MB"
    assert amount(1_200, 0, "B") == "1.2 kB"
    assert amount(12, 3456, "tensors") == "12 of 3,456 tensors"
    assert [seconds(value) for value in (0.04, 59.94, 59.96, 83.2)] == ["0.0 s", "59.9 s", "0 min 59 s", "1 min 23 s"]


def test_tables_put_numbers_to_the_right() -> None:
    assert table([("model", "bits", "note"), ("Unet", "6", "x"), ("VAEDecoder", "16", "")]).splitlines() == [
        "  model       bits  note",
        "  Unet           6  x",
        "  VAEDecoder    16",
    ]


def test_without_a_terminal_there_is_a_line_for_each_event() -> None:
    stream = io.StringIO()
    display = make_display(stream)
    assert isinstance(display, PlainDisplay)
    display.start("convert:unet", "write an ML Program")
    display.news("convert:unet", 1, 2, "tensors")
    display.end("convert:unet", "convert:unet: 1.0 s, 5 B")
    display.close()
    assert stream.getvalue() == "convert:unet: write an ML Program\nconvert:unet: 1.0 s, 5 B\n"


def test_on_a_terminal_running_stages_have_live_lines_and_finished_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    shown: list[bytes] = []
    reader = threading.Thread(target=lambda: _read(ours, shown))
    reader.start()
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal:
        display = make_display(terminal)
        assert isinstance(display, LiveDisplay)
        display.start("trace:a", "trace [it]")
        display.start("download:a", "fetch")
        display.news("download:a", 250_000, 1_000_000, "B")
        display.say("a line that stays")
        display.end("trace:a", "trace:a: 1.0 s, 5 B")
        display.close()
    reader.join(10)
    text = b"".join(shown).decode()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert re.search(r"trace:a +0:00 +trace \[it\]", plain)
    assert re.search(r"download:a +0:00 +25% +250 kB of 1.0 MB", plain)
    assert "a line that stays\r\n" in plain and "trace:a: 1.0 s, 5 B\r\n" in plain
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is back


def _read(descriptor: int, shown: list[bytes]) -> None:
    while True:
        try:
            data = os.read(descriptor, 1 << 16)
        except OSError:  # the other end is closed
            return
        if not data:
            return
        shown.append(data)


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb"), os.fdopen(theirs, "w", encoding="utf-8") as terminal:
        assert isinstance(make_display(terminal), PlainDisplay)
