"""Bytes of the store: what is read, what is found, and what is on the disk when."""

import json
import os
from pathlib import Path

import pytest

from sdbuild.store import Absent, Artifact, Stamp, Store, Workplace
from sdbuild.store.integrity import condemn, find_damage
from sdbuild.store.stamp import read_stamp
from tests.store.mutations import flip
from tests.store.test_artifacts import commit, store

__all__ = ["store"]


def told(store: Store, key: str) -> str:
    found = store.look("play", key)
    assert isinstance(found, Absent)
    return found.damage


def test_what_a_look_does_not_see_reading_finds(store: Store) -> None:
    made = commit(store)
    flip(made.path / "weights/weight.bin")
    (made.path / "notes").unlink()
    (made.path / "notes").touch()
    os.utime(made.path / "notes", ns=(0, made.stamp.files[1].mtime_ns))
    assert isinstance(store.look("play", "k" * 64), Artifact)
    (damage,) = find_damage([(made, None)])
    assert (damage.path, str(damage)) == ("weights/weight.bin", "weights/weight.bin was changed")
    assert find_damage([(made, "weights")]) == find_damage([(made, "weights/weight.bin")]) == [damage]
    assert find_damage([(made, "model.mil")]) == find_damage([(made, "weight")]) == []


def test_a_linked_file_that_is_known_is_not_read(store: Store, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(bytes(100))
    work = Workplace(store.root, "l" * 64)
    work.prepare()
    (work.output / "mine").symlink_to(mine)
    (work.output / "own").write_bytes(bytes(100))
    made = store.commit(work, Stamp.of(work.output, {}, stage="play", key="l" * 64, ingredients={}))
    flip(mine)
    flip(made.path / "own")
    known = {(each.stat().st_dev, each.stat().st_ino) for each in (mine, made.path / "own")}
    assert [each.path for each in find_damage([(made, None)])] == ["mine", "own"]
    assert [each.path for each in find_damage([(made, None)], trusted=known)] == ["own"]  # of the store all is read


def commit_linked(store: Store, key: str, other: Artifact) -> Artifact:
    """An artifact with a hard link to ``other``'s file b, as a bundle has them to compiled models."""
    work = Workplace(store.root, key)
    work.prepare()
    (work.output / "a").write_text(key)
    os.link(other.path / "b", work.output / "b")
    return store.commit(work, Stamp.of(work.output, other.known_digests(), stage="play", key=key, ingredients={}))


def test_condemned_artifacts_are_made_again_with_all_that_share_the_file(store: Store) -> None:
    first = commit(store, "k" * 64, {"b": "shared"})
    second, third = commit_linked(store, "l" * 64, first), commit_linked(store, "s" * 64, first)
    alone = commit(store, "m" * 64, {"b": "shared"})
    flip(first.path / "b")
    assert {found.path for found in condemn(store, find_damage([(second, None)]))} == {
        first.path,
        second.path,
        third.path,
    }
    assert {told(store, letter * 64) for letter in "kls"} == {"b was changed"}
    assert store.look("play", "m" * 64) == alone
    made = commit(store, "l" * 64, {"b": "shared"})
    assert store.look("play", "l" * 64) == made and not made.path.with_suffix(".damaged").exists()


def test_what_was_made_again_meanwhile_is_not_condemned(store: Store) -> None:
    first = commit(store)
    flip(first.path / "model.mil")
    found = find_damage([(first, None)])
    again = commit(store)
    assert condemn(store, found) == [] and store.look("play", "k" * 64) == again


def test_a_stamp_that_is_not_as_it_was_written_is_none(store: Store) -> None:
    made = commit(store)
    path = made.path.with_suffix(".json")
    data = json.loads(path.read_text())
    assert read_stamp(path) == made.stamp
    for change in ({"seconds": 2.5}, {"key": "l" * 64}, {"ingredients": {}}, {"more": 1}, {"digest": "0" * 64}):
        path.write_text(json.dumps(data | change))
        assert read_stamp(path) is None
    path.write_text(json.dumps(data))  # in another layout
    assert read_stamp(path) == made.stamp


@pytest.mark.parametrize("path", ["/etc/hostname", "../other", "a/../../b", "", "a\0b"])
def test_a_stamp_names_no_file_outside_its_artifact(store: Store, path: str) -> None:
    made = commit(store)
    file = made.stamp.files[0]
    stamp = Stamp("play", "k" * 64, {}, (type(file)(path, file.size, file.mtime_ns, file.sha256),))
    stamp.write(made.path.with_suffix(".json"))
    assert read_stamp(made.path.with_suffix(".json")) is None


def test_contents_are_on_the_disk_before_the_stamp_is(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real, synced = os.fsync, []

    def sync(descriptor: int) -> None:
        synced.append(
            (str(Path(f"/proc/self/fd/{descriptor}").readlink()), list(store.root.glob("artifacts/*/*.json")))
        )
        real(descriptor)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no /proc to see by which file is synced")
    monkeypatch.setattr(os, "fsync", sync)
    made = commit(store)
    stage = made.path.parent
    *content, folder, stamp, last = [path for path, _ in synced]
    output = store.root / "work" / ("k" * 64) / "output"
    expected = {output / name for name in ("model.mil", "notes", "weights/weight.bin", "weights")}
    assert set(content[:-1]) == set(map(str, expected)) and content[-1] == str(output)
    assert content.index(f"{output}/weights/weight.bin") < content.index(f"{output}/weights")
    assert folder == last == str(stage) and stamp.startswith(f"{stage}/.{'k' * 64}.json.")
    assert [bool(stamps) for _, stamps in synced] == [False] * (len(synced) - 1) + [True]
