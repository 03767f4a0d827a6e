"""What is told while a build runs."""

import io
import os
import pty
import re
import threading

import pytest

from sdbuild.engine import progress
from sdbuild.engine.progress import LiveDisplay, Place, PlainDisplay, amount, make_display, roughly, seconds, size
from sdbuild.engine.table import table
from tests.engine.conftest import Toy
from tests.engine.processes import wait_for
from tests.engine.toy import NODES


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
    display.start("convert:unet", "write an ML Program", Place(3, 14))
    display.news("convert:unet", 1, 2, "tensors")
    display.end("convert:unet", "convert:unet: 1.0 s, 5 B")
    display.start("compile:unet", "compile", Place(4, 14, left=100.0))
    display.close()
    assert stream.getvalue().splitlines() == [
        "[3/14] convert:unet: write an ML Program",
        "convert:unet: 1.0 s, 5 B",
        "[4/14] compile:unet: compile, about 2 min left",
    ]


def test_without_a_terminal_a_stage_that_takes_long_has_a_line_now_and_then() -> None:
    stream = io.StringIO()
    display = PlainDisplay(stream, every=0.02)
    display.start("trace:unet", "trace it", Place(1, 3))
    display.start("compress:unet", "compress", Place(2, 3))
    wait_for(lambda: stream.getvalue().count("trace:unet") > 2)
    display.news("compress:unet", 50, 200, "tensors")
    wait_for(lambda: "50 of 200" in stream.getvalue())
    display.end("compress:unet", "compress:unet: ended")
    display.end("trace:unet", "trace:unet: ended")
    before = stream.getvalue()
    display.start("bundle", "bundle", Place(3, 3, left=70.0))
    wait_for(lambda: stream.getvalue().count("bundle: bundle") > 2)
    display.close()
    assert re.search(r"^\[1/3\] trace:unet: trace it, 0\.\d s$", before, re.MULTILINE)
    assert re.search(
        r"^\[2/3\] compress:unet: 50 of 200 tensors, \d\.\d s, about 5 s left of it$", before, re.MULTILINE
    )
    after = stream.getvalue().removeprefix(before)
    assert set(re.sub(r"\d\.\d s", "", after).splitlines()) <= {
        "[3/3] bundle: bundle, about 70 s left",
        "[3/3] bundle: bundle, , about 70 s left",
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.2, "5 s"), (21, "25 s"), (89, "90 s"), (91, "2 min"), (149, "2 min"), (3600, "60 min")],
)
def test_guesses_are_rough(value: float, expected: str) -> None:
    assert roughly(value) == expected


def test_a_build_counts_its_tasks_and_expects_of_each_what_it_took_before(
    toy: Toy, capsys: pytest.CaptureFixture[str]
) -> None:
    assert toy.run() == 0
    first = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[")]
    assert [line.split()[0] for line in first] == [f"[{number}/{NODES}]" for number in range(1, NODES + 1)]
    assert not any("left" in line for line in first)
    assert toy.run(changes={"compress:a": {"text": "other"}}) == 0
    second = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[")]
    assert [line.split()[0] for line in second] == [f"[{number}/6]" for number in range(1, 7)]
    assert all(line.endswith(", about 5 s left") for line in second)


def test_tasks_at_once_have_numbers_of_their_own(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    assert toy.run("-n", "3", "build") == 0
    shown = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("[")]
    assert sorted(shown) == [f"[{number}/{NODES}]" for number in range(1, NODES + 1)]


def test_a_slow_stage_of_a_build_is_not_silent(
    toy: Toy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.05)
    assert toy.run(changes={"convert:a": {"sleep": 2}}) == 0
    assert re.search(
        rf"^\[3/{NODES}\] convert:a: 2 of 4 steps, 1\.\d s, about 5 s left of it$", capsys.readouterr().out, re.M
    )


def test_on_a_terminal_running_stages_have_live_lines_and_finished_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    shown: list[bytes] = []
    reader = threading.Thread(target=lambda: _read(ours, shown))
    reader.start()
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal:
        display = make_display(terminal)
        assert isinstance(display, LiveDisplay)
        display.start("trace:a", "trace [it]", Place(3, 14, left=500))
        display.start("download:a", "fetch", Place(4, 14))
        display.news("download:a", 250_000, 1_000_000, "B")
        display.say("a line that stays")
        display.end("trace:a", "trace:a: 1.0 s, 5 B")
        display.close()
    reader.join(10)
    text = b"".join(shown).decode()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert re.search(r"\[3/14\] +trace:a +0:00 +trace \[it\] +about 8 min left", plain)
    assert re.search(r"\[4/14\] +download:a +0:00 +25% +250 kB of 1.0 MB +about 5 s left of it", plain)
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
