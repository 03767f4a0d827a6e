"""Artifacts: taken in whole, found while whole."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from sdbuild.store import Absent, Artifact, Stamp, Store, Workplace
from sdbuild.store.digest import part_digest, record_files
from sdbuild.store.integrity import find_damage, find_strangers
from tests.digests import tree_digest
from tests.store.mutations import flip

FILES = {"model.mil": "program", "weights/weight.bin": "0123456789", "notes": ""}


def fill(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def commit(store: Store, key: str = "k" * 64, files: dict[str, str] | None = None) -> Artifact:
    work = Workplace(store.root, key)
    work.prepare()
    fill(work.output, FILES if files is None else files)
    stamp = Stamp.of(work.output, {}, stage="play", key=key, ingredients={"of": key}, seconds=1.5, peak_bytes=7)
    made = store.commit(work, stamp)
    work.remove(scratch=True)
    return made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "store").mkdir()
    return Store(tmp_path / "store")


def test_what_was_taken_in_is_found_with_all_that_is_known_of_it(store: Store) -> None:
    assert store.look("play", "k" * 64) == Absent()
    made = commit(store)
    found = store.look("play", "k" * 64)
    assert found == made
    assert (found.stamp.size, found.stamp.seconds, found.stamp.ingredients) == (17, 1.5, {"of": "k" * 64})
    assert found.size("weights") == found.size("weights/weight.bin") == 10
    assert {path.relative_to(found.path).as_posix() for path in found.path.rglob("*") if path.is_file()} == set(FILES)
    assert store.look("other", "k" * 64) == store.look("play", "l" * 64) == Absent()


def test_digests_are_of_names_and_contents_alone(store: Store, tmp_path: Path) -> None:
    made = commit(store)
    fill(tmp_path / "elsewhere", dict(reversed(FILES.items())))
    os.utime(tmp_path / "elsewhere/notes", (0, 0))
    assert made.digest() == tree_digest(tmp_path / "elsewhere")
    assert made.digest("weights") == tree_digest(tmp_path / "elsewhere/weights")
    assert made.digest("notes") == record_files(tmp_path / "elsewhere")[1].sha256
    assert made.digest("weight") is None
    (tmp_path / "elsewhere/notes").rename(tmp_path / "elsewhere/renamed")
    assert made.digest() != tree_digest(tmp_path / "elsewhere")


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take no such names")
def test_a_name_that_is_no_text_has_a_digest(store: Store) -> None:
    name = os.fsdecode(b"caf\xe9")
    made = commit(store, files={name: "x"})
    assert store.look("play", "k" * 64) == made and made.digest() != commit(store, files={"cafe": "x"}).digest()


def test_links_count_as_what_they_lead_to(tmp_path: Path) -> None:
    fill(tmp_path / "real", FILES)
    (tmp_path / "links").mkdir()
    for name in ("model.mil", "weights", "notes"):
        (tmp_path / "links" / name).symlink_to(tmp_path / "real" / name)
    assert tree_digest(tmp_path / "links") == tree_digest(tmp_path / "real")


def test_known_digests_spare_reading_hard_links_again(store: Store, tmp_path: Path) -> None:
    made = commit(store)
    (tmp_path / "new").mkdir()
    os.link(made.path / "model.mil", tmp_path / "new/linked")
    shutil.copy(made.path / "model.mil", tmp_path / "new/copied")
    known = dict.fromkeys(made.known_digests(), "as known")
    assert {file.path: file.sha256 == "as known" for file in record_files(tmp_path / "new", known)} == {
        "linked": True,
        "copied": False,
    }
    os.utime(tmp_path / "new/linked", (0, 0))
    assert part_digest(record_files(tmp_path / "new", known), "linked") != "as known"


def test_damage_is_named(store: Store) -> None:
    def damage() -> str:
        found = store.look("play", "k" * 64)
        assert isinstance(found, Absent)
        return found.damage

    made = commit(store)
    (made.path / "model.mil").unlink()
    assert damage() == "model.mil is missing"
    made = commit(store)
    (made.path / "weights/weight.bin").write_text("short")
    assert damage() == "weights/weight.bin has 5 bytes instead of 10"
    made = commit(store)
    (made.path / "weights/weight.bin").write_text("012345678?")
    assert damage() == "weights/weight.bin was changed"
    made = commit(store)
    (made.path / "weights/more").touch()
    assert damage() == "weights/more does not belong there"
    made = commit(store)
    shutil.rmtree(made.path)
    assert damage() == "its folder is gone"
    assert isinstance(commit(store), Artifact) and isinstance(store.look("play", "k" * 64), Artifact)


def test_a_link_that_leads_nowhere_is_a_missing_file(store: Store, tmp_path: Path) -> None:
    (tmp_path / "model").write_text("weights")
    work = Workplace(store.root, "k" * 64)
    work.prepare()
    (work.output / "model").symlink_to(tmp_path / "model")
    store.commit(work, Stamp.of(work.output, {}, stage="play", key="k" * 64, ingredients={}))
    assert isinstance(store.look("play", "k" * 64), Artifact)
    (tmp_path / "model").unlink()
    assert store.look("play", "k" * 64) == Absent("model is missing")


def test_a_touch_of_one_file_vouches_for_no_other(store: Store) -> None:
    made = commit(store)
    flip(made.path / "weights/weight.bin")
    os.utime(made.path / "model.mil", (1, 1))
    found = store.look("play", "k" * 64)
    assert isinstance(found, Artifact) and found.digest() == made.digest()
    assert [str(damage) for damage in find_damage([(found, None)])] == ["weights/weight.bin was changed"]


@pytest.mark.parametrize("wrong", ["file", "link", "nowhere"])
def test_something_else_in_the_place_of_an_artifact_is_replaced(store: Store, wrong: str) -> None:
    made = commit(store)
    shutil.rmtree(made.path)
    if wrong == "file":
        made.path.touch()
    else:
        made.path.symlink_to("." if wrong == "link" else "nowhere")
    made.path.with_suffix(".damaged").mkdir()
    assert isinstance(store.look("play", "k" * 64), Absent)
    made = commit(store)
    assert store.look("play", "k" * 64) == made


def test_a_folder_in_the_place_of_a_stamp_is_replaced(store: Store) -> None:
    made = commit(store)
    made.path.with_suffix(".json").unlink()
    made.path.with_suffix(".json").mkdir()
    assert store.look("play", "k" * 64) == Absent("its stamp is damaged, or of another version of sdbuild")
    assert list(store.artifacts()) == []
    made = commit(store)
    assert store.look("play", "k" * 64) == made


def test_a_link_that_leads_back_is_damage(store: Store) -> None:
    made = commit(store)
    (made.path / "loop").symlink_to(".")
    assert store.look("play", "k" * 64) == Absent("a link in its folder leads back to it")
    assert [str(damage)[:22] for damage in find_strangers(made)] == ["its folder can't be re"]
    (made.path / "loop").unlink()
    (made.path / "more").touch()
    assert [str(damage) for damage in find_strangers(made)] == ["more does not belong there"]


def test_touched_files_are_read_once_and_then_known_again(store: Store) -> None:
    made = commit(store)
    os.utime(made.path / "model.mil", (1, 1))
    found = store.look("play", "k" * 64)
    assert isinstance(found, Artifact) and found.digest() == made.digest()
    again = store.stamp("play", "k" * 64)
    assert again is not None and again.files == found.stamp.files != made.stamp.files


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 0}', '{"format": 1}'])
def test_a_stamp_that_cant_be_understood_is_none(store: Store, text: str) -> None:
    made = commit(store)
    made.path.with_name(f"{'k' * 64}.json").write_text(text)
    assert store.look("play", "k" * 64) == Absent("its stamp is damaged, or of another version of sdbuild")
    assert isinstance(commit(store), Artifact) and isinstance(store.look("play", "k" * 64), Artifact)


def test_a_stamp_under_another_key_is_not_this_ones(store: Store) -> None:
    made = commit(store)
    other = made.path.with_name("l" * 64)
    shutil.copytree(made.path, other)
    shutil.copy(made.path.with_name(f"{'k' * 64}.json"), other.with_name(f"{'l' * 64}.json"))
    assert isinstance(store.look("play", "l" * 64), Absent)


def test_an_attempt_starts_without_what_a_killed_one_left(store: Store) -> None:
    work = Workplace(store.root, "k" * 64)
    work.prepare()
    (work.output / "half").touch()
    (work.scratch / "resume from here").touch()
    work.prepare()
    assert list(work.output.iterdir()) == [] and (work.scratch / "resume from here").exists()
    work.remove(scratch=True)
    assert not work.folder.exists() and not work.scratch.exists()
