"""What is kept and what is removed."""

from dataclasses import replace
from pathlib import Path

import pytest

from sdbuild.store import Absent, BuildRecord, Entry, Records, Store, StoreError, Workplace, collect, sweep
from sdbuild.store.locks import Lock
from tests.store.test_artifacts import commit


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Artifacts a to d; a recipe in use was built of a and b, one that is gone of c."""
    (tmp_path / "store").mkdir()
    store = Store(tmp_path / "store")
    for key in "abcd":
        commit(store, key)
    for name, keys in (("used", "ab"), ("gone", "c")):
        recipe = tmp_path / f"{name}.yaml"
        recipe.touch()
        tasks = {f"play:{key}": Entry("play", key) for key in keys}
        Records(store.root).update(recipe, lambda record, tasks=tasks: replace(record, builds={"": tasks}))  # type: ignore[misc]
    (tmp_path / "gone.yaml").unlink()
    return store


def whole(store: Store) -> str:
    return "".join(key for key in "abcd" if store.look("play", key) != Absent())


def test_what_recipes_in_use_need_is_kept_and_nothing_else(store: Store, tmp_path: Path) -> None:
    found = collect(store, dry=False)
    assert whole(store) == "ab"
    assert (found.kept, found.removed, found.leftover_bytes) == (2, 2, 0)
    assert found.kept_bytes == found.removed_bytes > 0
    assert (found.recipes, found.gone) == ((tmp_path / "used.yaml",), (tmp_path / "gone.yaml",))
    assert sorted(path.name for path in (store.root / "artifacts/play").iterdir()) == ["a", "a.json", "b", "b.json"]
    assert [record.recipe.name for _, record in Records(store.root).all()] == ["used.yaml"]
    assert collect(store, dry=False).removed == 0


def test_a_dry_run_tells_the_same_and_removes_nothing(store: Store) -> None:
    told = collect(store, dry=True)
    assert whole(store) == "abcd" and len(list(Records(store.root).all())) == 2
    assert collect(store, dry=False) == told


def test_what_stopped_runs_left_is_removed(store: Store) -> None:
    work = Workplace(store.root, "e")
    work.prepare()
    (work.output / "half").write_text("x" * 1000)
    (work.scratch / "half").write_text("x" * 500)
    (store.root / "artifacts/play/without-stamp").mkdir()
    found = collect(store, dry=False)
    assert found.leftover_bytes == 1500 and not work.folder.exists() and not work.scratch.exists()
    assert not (store.root / "artifacts/play/without-stamp").exists()


def test_nothing_is_removed_while_a_build_runs(store: Store) -> None:
    with store.in_use(), pytest.raises(StoreError, match="a build is running"):
        collect(store, dry=False)
    assert whole(store) == "abcd"


def test_a_sweep_takes_what_nobody_is_at_and_keeps_what_downloads_resume_from(store: Store) -> None:
    stopped, running = Workplace(store.root, "e"), Workplace(store.root, "f")
    stopped.prepare()
    running.prepare()
    (stopped.scratch / "half").touch()
    with Lock.take(store.lock_path("f")):
        sweep(store)
    assert not stopped.folder.exists() and running.folder.exists() and (stopped.scratch / "half").exists()


def test_records_are_written_only_when_they_change(store: Store, tmp_path: Path) -> None:
    recipe, records = tmp_path / "used.yaml", Records(store.root)
    (path,) = (path for path, record in records.all() if record.recipe == recipe)
    before = path.stat().st_ino
    records.update(recipe, lambda record: record)
    assert path.stat().st_ino == before
    entry = Entry("play", "d", "first build")
    records.update(recipe, lambda record: replace(record, builds={**record.builds, "small": {"play": entry}}))
    assert path.stat().st_ino != before
    assert records.read(recipe).entry("small", "play") == entry
    assert records.read(recipe).entry("small", "other") is None
    path.write_text("{")
    assert records.read(recipe) == BuildRecord(recipe)
