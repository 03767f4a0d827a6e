"""Whatever stands in the files of a store, the answer is their meaning or one clear line, and nothing outside is touched."""

import json
import random
import shutil
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdbuild.store import Artifact, Entry, Records, Store, StoreError, collect
from sdbuild.store.records import _digest as of_record
from sdbuild.store.stamp import _digest as of_stamp
from tests.store.mutations import as_bytes, damaged, edited
from tests.store.test_artifacts import FILES, commit

_BATCH = 125


class Place:
    """A store of three artifacts, a recipe that was built of two of them, and a file beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "store").mkdir()
        (folder / "outside").mkdir()
        (folder / "outside/file").write_text("mine")
        self.recipe = folder / "recipe.yaml"
        self.recipe.touch()
        self.store = Store(folder / "store")
        for key in "abc":
            commit(self.store, key)
        builds = {"": {f"play:{key}": Entry("play", key, "first build") for key in "ab"}}
        Records(self.store.root).update(self.recipe, lambda record: replace(record, builds=builds))
        (self.record,) = (self.store.root / "builds").glob("*.json")

        shutil.copytree(self.store.root, folder / "saved/store")

    def restore(self) -> None:
        """Make the store what it was, as far as it is not."""
        saved = self.folder / "saved/store"
        for path in sorted(saved.rglob("*")):
            place = self.store.root / path.relative_to(saved)
            if path.is_dir():
                place.mkdir(exist_ok=True)
            elif not place.is_file() or place.read_bytes() != path.read_bytes():
                shutil.copy2(path, place)

    def artifacts(self) -> list[str]:
        """What lies in their places."""
        return sorted(path.name for path in self.store.root.glob("artifacts/*/*"))

    def beside(self) -> dict[Path, tuple[int, int]]:
        """Everything beside the store."""
        places = (self.folder, *self.folder.iterdir(), *(self.folder / "outside").iterdir())
        return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in places if path != self.store.root}


def mutate(path: Path, rng: random.Random, field: str, digest: Callable[[dict[str, Any]], str]) -> None:
    """Damage a file, or edit it, mostly as somebody does who takes away its digest, or writes the right one into ``field``."""
    if rng.randrange(2):
        path.write_bytes(damaged(path.read_bytes(), rng))
        return
    data = edited(json.loads(path.read_bytes()), rng)
    if isinstance(data, dict) and rng.randrange(3):
        data.pop(field, None)
        data |= {field: digest(data)} if rng.randrange(4) else {}
    path.write_bytes(as_bytes(data))


def record(place: Place, rng: random.Random) -> None:
    """A record in which anything may stand: collecting garbage removes all that a valid one doesn't name, or nothing."""
    mutate(place.record, rng, "sha256", of_record)
    records = Records(place.store.root)
    for tasks in records.read(place.recipe).builds.values():
        for entry in tasks.values():
            place.store.stamp(entry.stage, entry.key)
    before = place.artifacts()
    exist = (place.recipe, Path("/etc/passwd"))  # which an edit may put in its place
    try:
        named = {name for _, record in records.all() if record.recipe in exist for name in record.names()}
        collect(place.store, older=0, dry=False)
        kept = [key for key in "abc" if ("play", key) in named]
        assert place.artifacts() == sorted([*kept, *(f"{key}.json" for key in kept)])
    except StoreError as error:
        assert str(error).isprintable() and str(place.record) in str(error)
        assert place.artifacts() == before
    after = {"": {"play:c": Entry("play", "c")}}
    records.update(place.recipe, lambda record: replace(record, builds=after))
    newer = (
        isinstance(found := _parsed(place.record), dict)
        and isinstance(found.get("format"), int)
        and found["format"] > 1
    )
    assert newer or records.read(place.recipe).builds == after


def stamp(place: Place, rng: random.Random) -> None:
    """A stamp in which anything may stand: its artifact is found as it is, or there is none."""
    path = place.store.root / "artifacts/play/a.json"
    mutate(path, rng, "digest", of_stamp)
    found = place.store.look("play", "a")
    if isinstance(found, Artifact):
        assert found.path == path.with_suffix("")
        assert {file.path for file in found.stamp.files} == set(FILES)
        assert found.digest() and found.size("weights") >= 0 and found.known_digests()
    else:
        assert found.damage.isprintable()
    place.store.stamps("play", 10)
    assert len(list(place.store.artifacts())) >= 2
    collect(place.store, older=1e9, most=0 if rng.randrange(2) else None, dry=True)
    assert collect(place.store, older=0, dry=False).needed == 2


KINDS: list[Callable[[Place, random.Random], None]] = [record, stamp]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", range(4))
def test_anything_in_the_store(kind: Callable[[Place, random.Random], None], batch: int) -> None:
    _try(kind, range(batch * _BATCH, (batch + 1) * _BATCH))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", range(20))
def test_much_of_anything_in_the_store(kind: Callable[[Place, random.Random], None], batch: int) -> None:
    _try(kind, range(1000 * (batch + 1), 1000 * (batch + 2)))


def _try(kind: Callable[[Place, random.Random], None], seeds: range) -> None:
    failures = []
    with tempfile.TemporaryDirectory() as home:
        place = Place(Path(home))
        before = place.beside()
        for seed in seeds:
            try:
                kind(place, random.Random(seed))
                assert place.beside() == before, "something outside the store was touched"
            except Exception:
                failures.append(f"seed {seed}:\n{traceback.format_exc(chain=False)[-2000:]}")
            place.restore()
    assert not failures, f"{len(failures)} of {len(seeds)}\n" + "\n".join(failures[:5])


def _parsed(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, OSError):
        return None
