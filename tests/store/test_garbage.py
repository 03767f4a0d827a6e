"""What is kept and what is removed."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sdbuild.store import Absent, Artifact, BuildRecord, Entry, Records, Store, StoreError, Workplace, collect, sweep
from sdbuild.store.locks import Lock
from tests.store.test_artifacts import commit

DAY = 86400.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Artifacts a to d, unused for 40, 30, 20 and 10 days; a recipe in use was built of a and c, one that is gone of b."""
    (tmp_path / "store").mkdir()
    store = Store(tmp_path / "store")
    for number, key in enumerate("abcd"):
        commit(store, key)
        used(store, key, 40 - 10 * number)
    for name, keys in (("used", "ac"), ("gone", "b")):
        recipe = tmp_path / f"{name}.yaml"
        recipe.touch()
        tasks = {f"play:{key}": Entry("play", key) for key in keys}
        Records(store.root).update(recipe, lambda record, tasks=tasks: replace(record, builds={"": tasks}))  # type: ignore[misc]
    (tmp_path / "gone.yaml").unlink()
    return store


def used(store: Store, key: str, days: float) -> None:
    """Let its last use be some days ago."""
    os.utime(store.root / f"artifacts/play/{key}.json", (time.time() - days * DAY,) * 2)


def whole(store: Store) -> str:
    return "".join(key for key in "abcd" if store.look("play", key) != Absent())


def test_what_recipes_in_use_need_is_kept_and_nothing_else(store: Store, tmp_path: Path) -> None:
    found = collect(store, older=0, dry=False)
    assert whole(store) == "ac"
    assert (found.needed, found.recent, found.unused, found.over, found.leftover_bytes) == (2, 0, 2, 0, 0)
    assert found.kept_bytes == found.removed_bytes > 0
    assert (found.recipes, found.gone) == ((tmp_path / "used.yaml",), (tmp_path / "gone.yaml",))
    assert sorted(path.name for path in (store.root / "artifacts/play").iterdir()) == ["a", "a.json", "c", "c.json"]
    assert [record.recipe.name for _, record in Records(store.root).all()] == ["used.yaml"]
    assert collect(store, older=0, dry=False).unused == 0


@pytest.mark.parametrize(("days", "kept"), [(5, "ac"), (15, "acd"), (25, "acd"), (35, "abcd"), (1e9, "abcd")])
def test_what_was_used_not_long_ago_is_kept_whoever_used_it(store: Store, days: float, kept: str) -> None:
    collect(store, older=days * DAY, dry=False)
    assert whole(store) == kept
    assert ("gone.yaml" in {record.recipe.name for _, record in Records(store.root).all()}) == ("b" in kept)


def test_a_stamp_of_tomorrow_does_not_keep_anything_for_ever(store: Store) -> None:
    used(store, "d", -1)
    assert collect(store, older=0, dry=False).unused == 2


def test_a_use_is_noted_once_an_hour(store: Store) -> None:
    def last_use(key: str) -> float:
        return (store.root / f"artifacts/play/{key}.json").stat().st_mtime

    for key, days in (("a", 30.0), ("b", 0.04)):
        used(store, key, days)
        before = last_use(key)
        found = store.look("play", key)
        assert isinstance(found, Artifact)
        store.note_use(found)
        assert (last_use(key) == before) == (days < 1)
    assert time.time() - last_use("a") < 60


def test_a_store_is_made_as_small_as_asked(store: Store) -> None:
    one = collect(store, older=1e9, dry=True).kept_bytes // 4
    for most, kept, over_needed in ((4, "abcd", 0), (3, "acd", 0), (2, "ac", 0), (1.9, "c", 1), (0, "", 1)):
        found = collect(store, older=1e9, most=most * one + 20, dry=False)
        assert (whole(store), found.over_needed) == (kept, over_needed)
        assert found.kept_bytes <= most * one + 20


def test_hard_links_are_counted_once_and_those_from_outside_are_told(store: Store, tmp_path: Path) -> None:
    twin = commit(store, "e")
    for file in ("model.mil", "weights/weight.bin"):
        (twin.path / file).unlink()
        os.link(store.root / "artifacts/play/d" / file, twin.path / file)
    total = collect(store, older=1e9, dry=True).kept_bytes
    found = collect(store, older=1e9, most=total - 1, dry=True)
    assert found.over == 1 and found.held_bytes == 0 and found.removed_bytes < total
    os.link(store.root / "artifacts/play/b/model.mil", tmp_path / "shown")
    assert collect(store, older=0, dry=True).held_bytes == len("program")


def test_the_cheapest_of_what_was_used_together_goes_first(store: Store) -> None:
    for key, seconds in zip("abcd", (3, 1, 4, 2), strict=True):
        stamp = store.stamp("play", key)
        assert stamp is not None
        replace(stamp, seconds=seconds).write(store.root / f"artifacts/play/{key}.json")
        os.utime(store.root / f"artifacts/play/{key}.json", (1e9, 1e9 + "abcd".index(key)))
    for path, _ in list(Records(store.root).all()):
        path.unlink()
    one = collect(store, older=1e12, dry=True).kept_bytes // 4
    for number, kept in ((3, "acd"), (2, "ac"), (1, "c")):
        collect(store, older=1e12, most=number * one + 20, dry=False)
        assert whole(store) == kept


def test_a_dry_run_tells_the_same_and_removes_nothing(store: Store) -> None:
    with store.in_use():
        told = collect(store, older=0, dry=True)
    assert whole(store) == "abcd" and len(list(Records(store.root).all())) == 2
    assert collect(store, older=0, dry=False) == told


def test_a_recipe_that_cant_be_looked_for_may_exist(store: Store, tmp_path: Path) -> None:
    """As one in another user's folder; a loop of links can't be looked through by root, either."""
    (tmp_path / "loop").symlink_to("loop")
    entry = {"": {"play": Entry("play", "d")}}
    Records(store.root).update(tmp_path / "loop/mine.yaml", lambda record: replace(record, builds=entry))
    assert tmp_path / "loop/mine.yaml" in collect(store, older=0, dry=False).recipes and whole(store) == "acd"


DAMAGE = {
    "": "damaged, or not a record of a build",
    "{": "damaged, or not a record of a build",
    "[]": "damaged, or not a record of a build",
    "[" * 100_000: "damaged, or not a record of a build",
    '{"format": 2}': "noted by a newer sdbuild, so nothing is removed; upgrade this one",
    '{"format": 1, "recipe": "used.yaml", "builds": {}}': "damaged, or not a record of a build",
    '{"format": 1, "recipe": "/a\\u0000", "builds": {}}': "damaged, or not a record of a build",
    '{"format": 1, "recipe": "/a", "builds": {"": {"x": {"stage": "..", "key": "a"}}}}': "damaged, or not",
    '{"format": 1, "recipe": "/a", "builds": {"": {"x": {"stage": "play", "key": "../a"}}}}': "damaged, or not",
    '{"format": 1, "recipe": "/a", "builds": {"": {"x": {"stage": "play", "key": 7}}}}': "damaged, or not",
    '{"format": 1, "recipe": "/a", "builds": {}, "more": 0}': "damaged, or not a record of a build",
}


@pytest.mark.parametrize("text", DAMAGE)
def test_a_record_that_cant_be_read_keeps_everything(store: Store, text: str, tmp_path: Path) -> None:
    record = tmp_path / "store/builds/0.json"
    record.write_text(text)
    for dry in (True, False):
        with pytest.raises(StoreError, match=DAMAGE[text]) as error:
            collect(store, older=0, most=0, dry=dry)
        assert str(error.value).startswith(f"{record}: ") and str(error.value).isprintable()
    assert whole(store) == "abcd"
    record.unlink()
    assert collect(store, older=0, dry=False).unused == 2


def test_a_changed_digit_of_a_record_is_noticed(store: Store, tmp_path: Path) -> None:
    (path,) = (path for path, record in Records(store.root).all() if record.recipe.name == "used.yaml")
    path.write_text(path.read_text().replace('"key": "a"', '"key": "b"'))
    with pytest.raises(StoreError, match="damaged"):
        collect(store, older=0, dry=False)


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to nothing", "link to itself"])
def test_something_else_among_the_records_keeps_everything(store: Store, kind: str) -> None:
    place = store.root / "builds/0.json"
    if kind == "folder":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to("nothing" if kind == "link to nothing" else "0.json")
    with pytest.raises(StoreError, match=r"0\.json: damaged, or not a record"):
        collect(store, older=0, dry=False)
    assert whole(store) == "abcd"


def test_a_build_writes_a_damaged_record_anew_and_leaves_a_newer_one(store: Store, tmp_path: Path) -> None:
    recipe, records = tmp_path / "used.yaml", Records(store.root)
    (path,) = (path for path, record in records.all() if record.recipe == recipe)
    builds = {"": {"play": Entry("play", "d")}}
    path.write_text("{")
    assert records.read(recipe) == BuildRecord(recipe)
    records.update(recipe, lambda record: replace(record, builds=builds))
    assert records.read(recipe) == BuildRecord(recipe, builds)
    newer = json.dumps({"format": 2, "recipe": str(recipe), "roots": []})
    path.write_text(newer)
    records.update(recipe, lambda record: replace(record, builds=builds))
    assert records.read(recipe) == BuildRecord(recipe) and path.read_text() == newer


def test_a_record_of_the_first_versions_is_read(store: Store, tmp_path: Path) -> None:
    (path,) = (path for path, record in Records(store.root).all() if record.recipe.name == "used.yaml")
    data = json.loads(path.read_text())
    del data["sha256"]
    path.write_text(json.dumps(data))
    assert Records(store.root).read(tmp_path / "used.yaml").entry("", "play:a") == Entry("play", "a")


def test_a_collector_that_is_stopped_leaves_no_damage(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", stop)
    with pytest.raises(KeyboardInterrupt):
        collect(store, older=0, dry=False)
    assert store.look("play", "b") == Absent() and whole(store) == "acd"
    monkeypatch.undo()
    assert collect(store, older=0, dry=False).unused == 2


def test_links_in_the_store_are_removed_and_not_what_they_lead_to(store: Store, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "file").touch()
    for link in ("artifacts/play/e", "artifacts/play/d/more", "work/f", "partial/g"):
        (store.root / link).parent.mkdir(exist_ok=True)
        (store.root / link).symlink_to(mine)
    collect(store, older=0, dry=False)
    assert (mine / "file").exists() and not list(store.root.glob("*/f")) and not list(store.root.glob("*/*/e"))


def test_what_stopped_runs_left_is_removed(store: Store) -> None:
    work = Workplace(store.root, "e")
    work.prepare()
    (work.output / "half").write_text("x" * 1000)
    (work.scratch / "half").write_text("x" * 500)
    (store.root / "artifacts/play/without-stamp").mkdir()
    found = collect(store, older=0, dry=False)
    assert (
        (found.leftover_bytes, found.resumable_bytes) == (1500, 0)
        and not work.folder.exists()
        and not work.scratch.exists()
    )
    assert not (store.root / "artifacts/play/without-stamp").exists()


@pytest.mark.parametrize(("days", "most", "kept"), [(1, None, False), (3, None, True), (3, 1e9, False)])
def test_what_a_stopped_run_left_not_long_ago_is_gone_on_from(
    store: Store, days: float, most: float | None, kept: bool
) -> None:
    work = Workplace(store.root, "e")
    work.prepare()
    (work.scratch / "half").write_text("x" * 500)
    os.utime(work.scratch / "half", (time.time() - 2 * DAY,) * 2)
    found = collect(store, older=days * DAY, most=most, dry=False)
    assert (work.scratch / "half").exists() == kept and not work.folder.exists()
    assert (found.leftover_bytes, found.resumable_bytes) == ((0, 500) if kept else (500, 0))


def test_nothing_is_removed_while_a_build_runs(store: Store) -> None:
    with store.in_use(), pytest.raises(StoreError, match="a build is running"):
        collect(store, older=0, dry=False)
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
