"""Whose store is opened."""

import os
from pathlib import Path

import pytest

from sdbuild.store import Store, StoreError, open_store
from tests.store.test_artifacts import commit

STRANGER = 4711


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SDBUILD_STORE", str(tmp_path / "the store"))
    monkeypatch.delenv("SDBUILD_STORE_SHARED", raising=False)
    root = open_store().root
    commit(Store(root), "a")
    (root / "builds").mkdir()
    for folder in (root, *root.rglob("*/")):
        folder.chmod(0o755)
    return root


def refused(root: Path) -> str:
    with pytest.raises(StoreError) as error:
        open_store()
    assert str(error.value).isprintable() and str(error.value).startswith(str(root))
    return str(error.value)


def test_a_new_store_is_its_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDBUILD_STORE", str(tmp_path / "above/store"))
    before = os.umask(0o000)
    try:
        root = open_store().root
        commit(Store(root), "a")
    finally:
        os.umask(before)
    assert root.stat().st_mode & 0o777 == 0o700
    assert open_store().root == root  # what is open to all below it can't be reached


@pytest.mark.parametrize("folder", ["", "artifacts", "artifacts/play", "builds"])
def test_what_everyone_may_write_is_refused(root: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / folder).chmod(0o757)
    assert refused(root) == (
        f"{root / folder} may be written by everyone, who could change what builds open and trust there. "
        f"If nobody else has, chmod -R o-w '{root}'; or set SDBUILD_STORE_SHARED=1 if you trust everyone who can write there, "
        "or SDBUILD_STORE to a folder of your own"
    )
    monkeypatch.setenv("SDBUILD_STORE_SHARED", "1")
    assert open_store().root == root


def test_what_a_group_may_write_is_refused_unless_it_is_the_owners_own(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = [os.getgid(), *os.getgroups(), *([STRANGER] if not os.geteuid() else [])]
    others = [group for group in groups if group != os.geteuid()]
    (root / "artifacts").chmod(0o775)
    for group in others[:1]:
        os.chown(root / "artifacts", -1, group)
        assert f"{root}/artifacts may be written by its group, " in refused(root) and "chmod -R g-w" in refused(root)
    if os.geteuid() in groups:
        os.chown(root / "artifacts", -1, os.geteuid())
        assert open_store().root == root
    root.chmod(0o700)
    assert open_store().root == root


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files away")
@pytest.mark.parametrize("folder", ["", "artifacts", "artifacts/play", "builds"])
def test_what_belongs_to_another_user_is_refused(root: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(root / folder, STRANGER, -1)
    assert refused(root).startswith(
        f"{root / folder} belongs to the user number {STRANGER}, who could change what builds open and trust there: set "
        "SDBUILD_STORE_SHARED=1 if you trust everyone"
    )
    monkeypatch.setenv("SDBUILD_STORE_SHARED", "1")
    assert open_store().root == root


def test_the_variable_takes_1(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDBUILD_STORE_SHARED", "yes")
    with pytest.raises(StoreError, match=r"^SDBUILD_STORE_SHARED=yes: write 1 if you trust"):
        open_store()
    root.chmod(0o777)
    monkeypatch.setenv("SDBUILD_STORE_SHARED", "0")
    assert "may be written by everyone" in refused(root)
