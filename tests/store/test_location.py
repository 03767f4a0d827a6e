"""Where the store lies, and what is told when it can't be there."""

import errno
import sys
from pathlib import Path

import pytest

from sdbuild.store import StoreError, explain, open_store


def test_the_environment_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDBUILD_STORE", str(tmp_path / "a/b"))
    assert open_store().root == tmp_path / "a/b" and (tmp_path / "a/b").is_dir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SDBUILD_STORE", "~/c")
    assert open_store().root == tmp_path / "c"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SDBUILD_STORE", "d")
    assert open_store().root == tmp_path / "d"


def test_who_only_asks_makes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDBUILD_STORE", str(tmp_path / "a/b"))
    assert open_store(make=False).root == tmp_path / "a/b" and not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    for place, message in (("file/store", "a file is where a folder should be"), ("x" * 300, "the path is too long")):
        monkeypatch.setenv("SDBUILD_STORE", str(tmp_path / place))
        with pytest.raises(StoreError, match=message):
            open_store(make=False)
    if sys.platform == "linux":
        monkeypatch.setenv("SDBUILD_STORE", "/proc/nope")
        with pytest.raises(StoreError, match=r"^/proc/nope: no folder can be made there"):
            open_store(make=False)


@pytest.mark.parametrize(
    ("home", "message"),
    [("{here}/none", "the home folder .*/none is not there"), ("here", "HOME=here is not an absolute path")],
)
def test_a_home_that_is_none_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SDBUILD_STORE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", home.format(here=tmp_path))
    with pytest.raises(StoreError, match=f"^no place for the store: {message}; set SDBUILD_STORE to a folder$"):
        open_store()
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("platform", "caches", "expected"),
    [
        ("linux", "{home}/caches", "caches/sdbuild"),
        ("linux", "relative", ".cache/sdbuild"),
        ("linux", None, ".cache/sdbuild"),
        ("darwin", "{home}/caches", "Library/Caches/sdbuild"),
    ],
)
def test_otherwise_it_is_in_the_users_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, caches: str | None, expected: str
) -> None:
    monkeypatch.delenv("SDBUILD_STORE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", platform)
    if caches is None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", caches.format(home=tmp_path))
    assert open_store().root == tmp_path / expected


def test_places_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDBUILD_STORE", "/")
    with pytest.raises(StoreError, match="not the root of the disk"):
        open_store()
    (tmp_path / "file").touch()
    monkeypatch.setenv("SDBUILD_STORE", str(tmp_path / "file/store"))
    with pytest.raises(StoreError, match=r"^\S+file/store: a file is where a folder should be"):
        open_store()
    monkeypatch.setenv("SDBUILD_STORE", str(tmp_path / ("x" * 300)))
    with pytest.raises(StoreError, match="the path is too long"):
        open_store()
    if Path("/proc").is_dir():
        monkeypatch.setenv("SDBUILD_STORE", "/proc/nope")
        with pytest.raises(StoreError, match=r"^/proc/nope: no folder can be made there"):
            open_store()
    monkeypatch.setenv("SDBUILD_STORE", "~nobody-of-this-name/store")
    with pytest.raises(StoreError, match="no place for the store"):
        open_store()


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, r"^the disk is full: \d+ MB free where \S+ lies\. Make room \(`doit gc older=0d` .*are kept$"),
        (errno.EDQUOT, "^the disk is full: what this user may have of it, .* is used up. Make room"),
        (errno.EMFILE, r"^too many open files: allow this process more of them \(ulimit -n"),
        (errno.ENFILE, "^too many open files: the whole system"),
        (errno.EROFS, "^/place: the disk is read-only; set SDBUILD_STORE to a folder of your own$"),
        (errno.EACCES, "^/place: no permission; give it to this user, or set SDBUILD_STORE"),
        (errno.EFBIG, "^/place: a file grew larger than"),
        (errno.EIO, "^/place: the disk does not answer"),
        (errno.ENOLCK, "^/place: this file system has no locks"),
    ],
)
def test_what_the_system_reports_is_told_in_one_line(tmp_path: Path, number: int, expected: str) -> None:
    clear = explain(OSError(number, "in the system's words", "/place"), tmp_path)
    assert clear is not None and "\n" not in str(clear)
    with pytest.raises(StoreError, match=expected):
        raise clear


def test_other_errors_are_not_explained_away(tmp_path: Path) -> None:
    assert explain(FileNotFoundError(errno.ENOENT, "", "/place"), tmp_path) is None
