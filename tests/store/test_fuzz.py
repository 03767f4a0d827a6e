"""Whatever stands in the files of a store, the answer is their meaning or one clear line, and nothing outside is touched."""

import json
import random
import shutil
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sdbuild.store import Entry, Records, Store, StoreError, collect
from sdbuild.store.records import _digest
from tests.store.mutations import as_bytes, damaged, edited
from tests.store.test_artifacts import commit

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


def record(place: Place, rng: random.Random) -> None:
    """A record in which anything may stand: collecting garbage removes all that a valid one doesn't name, or nothing."""
    data = json.loads(place.record.read_bytes())
    if rng.randrange(2):
        place.record.write_bytes(damaged(place.record.read_bytes(), rng))
    else:
        changed = edited(data, rng)
        if isinstance(changed, dict) and rng.randrange(3):  # by somebody who knows how it's done
            changed.pop("sha256", None)
            changed |= {"sha256": _digest(changed)} if rng.randrange(2) else {}
        place.record.write_bytes(as_bytes(changed))
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


KINDS: list[Callable[[Place, random.Random], None]] = [record]


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
