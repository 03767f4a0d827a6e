"""The zip has the same bytes wherever and whenever it is made, and the layout that apps open."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from sdbuild.bundle.zip import write_zip

CONTENTS = {
    "Unet.mlmodelc/model.mil": b"program",
    "Unet.mlmodelc/weights/weight.bin": bytes(70000),
    "vocab.json": b"{}",
}
STEM = "shapes_split_einsum_compiled"


def fill(folder: Path, names: list[str], mode: int, time: int) -> Path:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(CONTENTS[name])
        file.chmod(mode)
        os.utime(file, (time, time))
    return folder


def test_times_modes_order_and_place_do_not_show(tmp_path: Path) -> None:
    names = list(CONTENTS)
    first = fill(tmp_path / "here" / "Resources", names, 0o600, 10**9)
    second = fill(tmp_path / "there", names[::-1], 0o755, 2 * 10**9)
    archives = [tmp_path / f"{STEM}.zip", tmp_path / "there.out" / f"{STEM}.zip"]
    archives[1].parent.mkdir()
    write_zip(first, archives[0])
    umask = os.umask(0o077)
    try:
        write_zip(second, archives[1])
    finally:
        os.umask(umask)
    assert archives[0].read_bytes() == archives[1].read_bytes()


def test_the_top_folder_is_the_stem_with_the_files_right_inside(tmp_path: Path) -> None:
    folder = fill(tmp_path / "Resources", list(CONTENTS), 0o600, 10**9)
    manifest = tmp_path / "manifest.json"
    manifest.write_text("{}")
    archive = tmp_path / f"{STEM}.zip"
    done: list[int] = []
    write_zip(folder, archive, [manifest], done.append)
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        assert opened.namelist() == [f"{STEM}/{name}" for name in sorted([*CONTENTS, "manifest.json"])]
        assert {entry.date_time for entry in opened.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {entry.external_attr >> 16 for entry in opened.infolist()} == {0o100644}
        opened.extractall(tmp_path / "unpacked")
    for name, content in CONTENTS.items():
        assert (tmp_path / "unpacked" / STEM / name).read_bytes() == content
    assert done[-1] == sum(map(len, CONTENTS.values())) + 2


def test_a_stem_may_have_dots(tmp_path: Path) -> None:
    folder = fill(tmp_path / "Resources", ["vocab.json"], 0o600, 10**9)
    write_zip(folder, tmp_path / "sd-1.5_original_compiled.zip")
    with zipfile.ZipFile(tmp_path / "sd-1.5_original_compiled.zip") as opened:
        assert opened.namelist() == ["sd-1.5_original_compiled/vocab.json"]


@pytest.mark.parametrize("command", [[sys.executable, "-m", "zipfile", "-t"], ["unzip", "-tq"]])
def test_other_tools_find_nothing_wrong(command: list[str], tmp_path: Path) -> None:
    folder = fill(tmp_path / "Resources", list(CONTENTS), 0o600, 10**9)
    write_zip(folder, tmp_path / f"{STEM}.zip")
    try:
        result = subprocess.run([*command, tmp_path / f"{STEM}.zip"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip(f"{command[0]} is not installed")
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_file_beyond_four_gigabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With zipfile's own limit brought down: past it, sizes stand in the zip64 extra field."""
    folder = fill(tmp_path / "Resources", list(CONTENTS), 0o600, 10**9)
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    write_zip(folder, tmp_path / f"{STEM}.zip")
    monkeypatch.undo()
    with zipfile.ZipFile(tmp_path / f"{STEM}.zip") as opened:
        assert opened.testzip() is None
        large = opened.getinfo(f"{STEM}/Unet.mlmodelc/weights/weight.bin")
    assert (large.file_size, large.extra[:2], large.extract_version) == (70000, b"\x01\x00", 45)
