"""Artifacts and results that were damaged, and stages that fail."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdbuild.engine.cli import run
from sdbuild.errors import NO_MEMORY
from sdbuild.recipe.problems import display
from tests.digests import tree_digest
from tests.engine.conftest import Toy
from tests.engine.toy import NODES
from tests.store.mutations import flip


def test_a_damaged_artifact_is_noticed_and_made_again(toy: Toy) -> None:
    assert toy.run() == 0
    toy.ran()
    before = tree_digest(toy.results)
    weights = "A.mlpackage/weights/weight.bin"
    for damage in (_remove, _truncate, _edit, _add, _lose_stamp, _garble_stamp):
        (artifact,) = (path for path in (toy.store / "artifacts/convert").iterdir() if path.is_dir())
        damage(artifact / weights, artifact.with_name(f"{artifact.name}.json"))
        assert (toy.run(), toy.ran()) == (0, ["convert:a"]), damage
        assert tree_digest(toy.results) == before


def _remove(file: Path, stamp: Path) -> None:
    file.unlink()


def _truncate(file: Path, stamp: Path) -> None:
    file.chmod(0o644)
    os.truncate(file, 3)


def _edit(file: Path, stamp: Path) -> None:
    file.chmod(0o644)
    text = file.read_text()
    file.write_text(text[:-1] + "?")


def _add(file: Path, stamp: Path) -> None:
    file.with_name("more").touch()


def _lose_stamp(file: Path, stamp: Path) -> None:
    stamp.unlink()


def _garble_stamp(file: Path, stamp: Path) -> None:
    stamp.write_text(stamp.read_text()[:50])


def _folder(toy: Toy, stage: str) -> Path:
    (found,) = (path for path in (toy.store / "artifacts" / stage).iterdir() if path.is_dir())
    return found


def test_what_kept_size_and_time_is_noticed_by_the_stage_that_reads_it(
    make_toy: Callable[[str], Toy], capfd: pytest.CaptureFixture[str]
) -> None:
    toy, undisturbed = make_toy("toy"), make_toy("undisturbed")
    assert toy.run() == 0
    flip(_folder(toy, "convert") / "A.mlpackage/weights/weight.bin")
    assert (toy.run(), len(toy.ran())) == (0, NODES)  # nothing reads it
    other = {"compress:a@x": {"text": "other"}}
    assert (toy.run(changes=other), undisturbed.run(changes=other)) == (0, 0)
    assert toy.ran() == ["bundle@x", "compile:a@x", "compress:a@x", "compress:a@x", "convert:a"]
    assert (
        "compress:a@x: damaged in the store, and made again: convert: A.mlpackage/weights/weight.bin was changed"
        in (capfd.readouterr().out)
    )
    assert tree_digest(toy.results) == tree_digest(undisturbed.results)


@pytest.mark.parametrize("file", ["compress/*/A.mlpackage/model", "bundle/*/Resources/A.mlmodelc/model.mil"])
def test_what_kept_size_and_time_reaches_no_results(
    make_toy: Callable[[str], Toy], capfd: pytest.CaptureFixture[str], file: str
) -> None:
    one = {"variants": ["x"]}
    toy, undisturbed = make_toy("toy"), make_toy("undisturbed")
    assert (toy.run(changes=one), undisturbed.run(changes=one)) == (0, 0)
    shutil.rmtree(toy.results)
    (damaged,) = toy.store.glob(f"artifacts/{file}")
    flip(damaged)
    toy.ran()
    assert toy.run(changes=one) == 0 and len(toy.ran()) == 1
    assert "toy: damaged in the store, and made again: " in capfd.readouterr().out
    assert tree_digest(toy.results) == tree_digest(undisturbed.results)
    assert (toy.run(changes=one), toy.ran()) == (0, [])


def test_hard_links_share_the_damage_and_are_all_made_again(make_toy: Callable[[str], Toy]) -> None:
    toy, undisturbed = make_toy("toy"), make_toy("undisturbed")
    links = {"bundle": {"links": {"Resources/vocab.json": "tokenizer"}}}
    other = links | {"compress:a@y": {"text": "other"}}
    assert toy.run(changes=links) == 0
    toy.ran()
    file = _folder(toy, "config") / "tokenizer/vocab.json"
    assert file.samefile(toy.results / "x/Resources/vocab.json")
    flip(file)
    assert (toy.run(changes=other), undisturbed.run(changes=other)) == (0, 0)
    assert toy.ran() == ["bundle@x", "bundle@y", "bundle@y", "compile:a@y", "compress:a@y", "config"]
    assert tree_digest(toy.results) == tree_digest(undisturbed.results)


def test_an_input_that_is_edited_while_it_is_read_is_made_again(make_toy: Callable[[str], Toy]) -> None:
    toy, undisturbed = make_toy("toy"), make_toy("undisturbed")
    assert (toy.run(changes={"compress:a@x": {"scribble": "package"}}), undisturbed.run()) == (0, 0)
    assert (toy.ran().count("compress:a@x"), toy.ran()) == (2, [])
    assert tree_digest(toy.results) == tree_digest(undisturbed.results)


def test_damage_found_by_one_of_two_tasks_at_once_is_mended_for_both(make_toy: Callable[[str], Toy]) -> None:
    toy, undisturbed = make_toy("toy"), make_toy("undisturbed")
    assert toy.run() == 0
    flip(_folder(toy, "config") / "tokenizer/vocab.json")
    other = {"bundle@x": {"text": "other"}, "compile:a@y": {"text": "other"}}
    slow = {"config": {"sleep": 1}} | {name: {"text": "other", "sleep": 0.5} for name in other}
    # That bundle@y is examined while config is made again takes luck; it is right at any moment.
    assert toy.run("-n", "2", changes=slow) == 0
    assert undisturbed.run(changes=slow) == 0
    assert tree_digest(toy.results) == tree_digest(undisturbed.results)


def test_check_reads_every_byte(toy: Toy, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SDBUILD_STORE", str(toy.store))
    assert toy.run() == 0
    toy.ran()
    before = tree_digest(toy.results)
    capfd.readouterr()
    assert run(["check"], toy.here) == 0
    assert f"{NODES} artifacts in {toy.store}" in capfd.readouterr().out
    flip(_folder(toy, "convert") / "A.mlpackage/weights/weight.bin")
    (_folder(toy, "trace") / "graph").unlink()
    _folder(toy, "config").with_suffix(".json").write_text("{}")
    assert run(["check"], toy.here) == 1
    told = capfd.readouterr()
    assert "1 artifact in " in told.out
    first, *rest = told.err.splitlines()
    assert first.startswith(
        f"error: 2 of {NODES - 1} artifacts in {toy.store} damaged; the next build that needs them makes"
    )
    assert [line.split("): ")[1] for line in rest] == [
        "A.mlpackage/weights/weight.bin was changed",
        "graph is missing",
    ]
    assert (toy.run(), toy.ran()) == (0, ["config", "convert:a", "trace:a"])
    assert tree_digest(toy.results) == before
    assert run(["check"], toy.here) == 0


def test_check_counts_a_file_with_several_names_once(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SDBUILD_STORE", str(toy.store))
    assert toy.run(changes={"bundle": {"links": {"Resources/vocab.json": "tokenizer"}}}) == 0
    capfd.readouterr()
    assert run(["check", "json=1"], toy.here) == 0
    files = [path.stat() for path in toy.store.glob("artifacts/*/*/**/*") if path.is_file()]
    once = {stat.st_ino: stat.st_size for stat in files}
    assert len(once) == len(files) - 2
    assert json.loads(capfd.readouterr().out)["bytes"] == sum(once.values())


def test_an_edit_of_results_fails_aloud(toy: Toy) -> None:
    assert toy.run() == 0
    files = [path for path in (*toy.results.rglob("*"), *toy.store.glob("artifacts/*/*/**/*")) if path.is_file()]
    assert files and not any(file.stat().st_mode & 0o222 for file in files)
    assert toy.run(changes={"variants": ["y"]}) == 0  # and what is no more wanted can be removed


def _of_mine(file: Path) -> dict[str, Any]:
    stat = file.stat()
    state = {file.name: f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}"}
    return {"source": {"kind": "local", "path": str(file.parent), "files": state}}


def test_a_local_model_that_changes_while_it_is_read_is_not_built_from(
    toy: Toy, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(bytes(range(100)))
    changes = {"config": _of_mine(weights)}
    refused = f"error: config: {weights} changed while it was built from"
    assert toy.run("config", changes={"config": changes["config"] | {"meddle": [str(weights)]}}) == 5
    assert capfd.readouterr().err.startswith(refused)
    weights.write_bytes(bytes(99))  # after the key was computed
    assert toy.run("config", changes=changes) == 5
    assert capfd.readouterr().err.startswith(refused)
    assert not list(toy.store.glob("artifacts/*/*"))
    assert toy.run("config", changes={"config": _of_mine(weights)}) == 0


def test_a_local_model_behind_a_link_is_watched_as_well(
    toy: Toy, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(bytes(range(100)))
    linked = {"trace:a": {"symlinks": {"weights": str(weights)}}}
    assert toy.run(changes=linked | {"convert:a": {"meddle": [str(weights)]}}) == 5
    assert capfd.readouterr().err.startswith(f"error: convert:a: {weights} changed while it was built from")
    assert not list(toy.store.glob("artifacts/convert/*"))
    assert toy.run(changes=linked) == 0
    toy.ran()
    # With size and time kept, and back when it is read: its bytes are other ones.
    flip(weights)
    assert toy.run(changes=linked | {"convert:a": {"text": "other"}}) == 0
    assert [name for name in toy.ran() if name[-1] == "a"] == ["convert:a", "convert:a", "trace:a"]


def test_a_copied_store_is_as_good_as_the_original(toy: Toy) -> None:
    assert toy.run() == 0
    toy.ran()
    copy = toy.store.with_name("copy")
    subprocess.run(["cp", "-r", toy.store, copy], check=True)
    toy.store = copy
    assert (toy.run(), toy.ran()) == (0, [])


def test_results_are_kept_as_they_should_be_and_nothing_else_is_touched(toy: Toy) -> None:
    assert toy.run() == 0
    toy.ran()
    before = tree_digest(toy.results)
    model = toy.results / "x/Resources/A.mlmodelc/model.mil"
    mine = toy.results / "x/notes.txt"
    for damage in (
        lambda: model.unlink(),
        lambda: (toy.results / "x/Resources/more").touch(),
        lambda: subprocess.run(["rm", "-r", toy.results / "y/packages"], check=True),
        lambda: subprocess.run(["mv", toy.results / "y/Resources", toy.results / "y/.sdbuild-old"], check=True),
        lambda: (toy.results / "x/manifest.json").rename(toy.results / "x/Resources/manifest.json"),
        lambda: (model.chmod(0o644), model.write_text("edited through the link, so in the store too")),
    ):
        damage()
        mine.write_text("mine")
        assert toy.run() == 0
        assert mine.read_text() == "mine"
        mine.unlink()
        assert tree_digest(toy.results) == before
    assert toy.ran() == ["bundle@x"]


def test_results_of_variants_that_are_no_more_are_removed(toy: Toy) -> None:
    assert toy.run() == 0
    mine = toy.results / "mine"
    (mine / "packages").mkdir(parents=True)
    (mine / "manifest.json").write_text('{"name": "of a web page"}')
    assert toy.run(changes={"variants": ["y", "z"]}) == 0
    assert sorted(path.name for path in toy.results.iterdir()) == ["mine", "y", "z"]
    assert sorted(path.name for path in mine.iterdir()) == ["manifest.json", "packages"]


def test_a_failure_keeps_what_is_done_and_what_does_not_depend_on_it(toy: Toy) -> None:
    wrong = {"compress:a@x": {"wrong": "user"}}
    assert toy.run("-n", "2", changes=wrong) == 1
    assert "convert:a" in toy.ran()
    assert toy.run("bundle@y", changes=wrong) == 0
    assert not {"config", "convert:a"} & set(toy.ran())


def test_what_does_not_depend_on_a_failure_is_done_when_asked_to_go_on(
    toy: Toy, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = {"compress:a@x": {"wrong": "user"}}
    assert toy.run("-c", "build", changes=wrong) == 1
    assert {"bundle@y", "compress:a@x"} <= set(toy.ran())
    told = capfd.readouterr()
    assert told.err == "error: compress:a@x: the toy says no\n"
    again = "what is done is kept: the same command, run again, goes on from there"
    assert re.fullmatch(rf"not finished \(6 run.*\); {again}", told.out.splitlines()[-1])


def test_a_failed_variant_leaves_what_is_said_of_the_others(toy: Toy, capfd: pytest.CaptureFixture[str]) -> None:
    wrong = {"compress:a@x": {"wrong": "user"}}
    assert toy.run("-c", "build", changes=wrong) == 1
    assert f"{display(toy.results / 'y')}: finished\nnot finished" in capfd.readouterr().out
    assert toy.run(changes=wrong) == 1
    *_, hint, _ = capfd.readouterr().out.splitlines()
    assert hint == "other variants may not have been tried: -c goes on with what does not depend on a failure"


def test_what_runs_again_says_why(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    assert toy.run() == 0 and "runs again" not in capsys.readouterr().out
    assert toy.run(changes={"compress:a": {"text": "other"}}) == 0
    again = [line for line in capsys.readouterr().out.splitlines() if "runs again" in line]
    assert again and all(re.match(r"compress:a(@.)?: runs again: ", line) for line in again)


def test_after_a_shortfall_the_recipe_is_to_be_changed(toy: Toy, capfd: pytest.CaptureFixture[str]) -> None:
    assert toy.run(changes={"trace:a": {"wrong": "shortfall"}}) == 6
    last = capfd.readouterr().out.splitlines()[-1]
    assert last.startswith("not finished (1 run); what is done is kept: give the recipe more bits, or a lower min_psnr")
    assert "same command" not in last


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ("user", "error: trace:a: the toy says no\n"),
        ("kill", "error: trace:a: killed by SIGKILL: most likely the system ran out of memory."),
        ("bug", "error: trace:a: crashed: a bug in sdbuild; the end of its log:\n"),
    ],
)
def test_what_a_failure_says(toy: Toy, capfd: pytest.CaptureFixture[str], wrong: str, expected: str) -> None:
    assert toy.run(changes={"trace:a": {"wrong": wrong}}) == (2 if wrong == "bug" else 1)
    told = capfd.readouterr().err
    assert told.startswith(expected)
    if wrong == "bug":
        log = Path(told.rsplit("the whole log: ", 1)[1].strip())
        assert "on its way" in log.read_text() and "ValueError: a bug in the toy" in told
    assert not any((toy.store / "work").iterdir())


@pytest.mark.parametrize("wrong", ["memory", "torch", "wrapped", "linker", "abort"])
def test_too_little_memory_is_one_line_and_the_store_is_intact(toy: Toy, wrong: str) -> None:
    limited = ("prlimit", "--data=1500000000")
    failed = toy.build(changes={"trace:a": {"wrong": wrong}}, prefix=limited)
    assert failed.returncode == 1
    assert failed.stderr == f"error: trace:a: {NO_MEMORY}\n"
    assert toy.build("trace:a", prefix=limited).returncode == 0


def test_scratch_outlives_a_failed_attempt(toy: Toy) -> None:
    changes = {"config": {"wrong": "scratch"}}
    assert toy.run("config", changes=changes) == 1
    assert toy.run("config", changes=changes) == 0
    (resumed,) = toy.store.glob("artifacts/config/*/resumed")
    assert resumed.read_text() == "of the first attempt"
    assert not any((toy.store / "partial").iterdir())


def test_what_a_stage_warns_of_is_told_and_the_build_goes_on(toy: Toy, capfd: pytest.CaptureFixture[str]) -> None:
    assert toy.run(changes={"trace:a": {"warn": "mind the toy"}}) == 0
    assert capfd.readouterr().out.splitlines().count("trace:a: warning: mind the toy") == 1


def test_what_several_stages_and_variants_warn_of_is_said_once(toy: Toy, capfd: pytest.CaptureFixture[str]) -> None:
    shared, own = {"warn": "mind the toy"}, {"warn": "mind this one"}
    assert toy.run(changes={"trace:a": shared, "compress:a": shared, "bundle": shared, "compile:a@y": own}) == 0
    told = [line for line in capfd.readouterr().out.splitlines() if "warning" in line]
    assert told == ["trace:a: warning: mind the toy", "compile:a@y: warning: mind this one"]
    assert toy.run(changes={"trace:a": shared, "compress:a": shared, "bundle": shared | {"text": "new"}}) == 0
    assert capfd.readouterr().out.count("warning: mind the toy") == 1
