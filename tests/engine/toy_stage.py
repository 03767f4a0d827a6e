"""A stage for tests: it writes what its parameters and inputs say, or goes wrong as they ask. See ``toy``."""

import atexit
import gc
import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

from sdbuild.errors import ShortfallError, SourceError, UserError
from sdbuild.stages import Place
from tests.engine.toy_jobs import Play


def run(job: Play, place: Place) -> None:
    name = job.name
    if log := os.environ.get("TOY_LOG"):
        with Path(log).open("a") as file:
            file.write(f"{name}\n")
    if place_of_exit := os.environ.get("TOY_EXIT"):
        atexit.register(Path(place_of_exit).touch)
    if role := job.scribble:
        scribble(next(iter(_files(job.inputs[role].path))), place.scratch / "scribbled")
    read = "".join(
        f"{role}:{sorted(file.read_text() for file in _files(given.path))}\n"
        for role, given in sorted(job.inputs.items())
    )
    place.output.joinpath("half").write_text("half")
    if warning := job.warn:
        place.warn(warning)
    for done in range(4):
        place.progress(done, 4, "steps")
        time.sleep(job.sleep / 4)
    _go_wrong(job, place)
    place.output.joinpath("half").unlink()
    for path in job.files:
        target = place.output / path
        target.parent.mkdir(parents=True, exist_ok=True)
        text = f"{name} {path} {job.text}\n{read}"
        manifest = {"schema": 1, "pipeline": "toy", "sha256": text}
        target.write_text(json.dumps(manifest) if path == "manifest.json" else text)
    for path, role in job.links.items():  # as bundles have hard links to compiled models
        place.output.joinpath(path).unlink()
        os.link(next(iter(_files(job.inputs[role].path))), place.output / path)
    for path, target in job.symlinks.items():  # as downloads of a local folder lead there
        place.output.joinpath(path).symlink_to(target)
    if seen := job.seen:
        Path(seen).write_text(json.dumps(_surroundings()))
    for file in job.meddle:
        meddle(Path(file))


def _surroundings() -> dict[str, Any]:
    """What a stage process can see of itself."""
    return {
        "environment": dict(os.environ),
        "files": sorted(_kind_of(file) for file in Path("/proc/self/fd").iterdir()),
        "session": os.getsid(0) == os.getpid(),
        "collects": gc.isenabled(),
        "parent": os.getppid(),
    }


def _kind_of(file: Path) -> str:
    """`pipe`, `socket`, or the file's name without what is another one in each store."""
    try:
        found = file.readlink()
    except FileNotFoundError:  # what lists them
        return ""
    return re.sub(r"[0-9a-f]{64}", "KEY", found.name).partition(":")[0]


def scribble(file: Path, done: Path) -> None:
    """Edit a file in the store, once, after whatever read it at first."""
    if not done.exists():
        time.sleep(0.3)
        done.touch()
        file.chmod(0o644)
        file.write_text("scribbled")


def meddle(file: Path) -> None:
    """Write other bytes and the old ones again, so that size, time and content are as before."""
    before, stat = file.read_bytes(), file.stat()
    for content in (before[::-1], before):
        file.write_bytes(content)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]


def _go_wrong(job: Play, place: Place) -> None:
    print("on its way")
    match job.wrong:
        case "user":
            raise UserError("the toy says no")
        case "source":
            raise SourceError("the toy's model says no")
        case "shortfall":
            raise ShortfallError("the toy falls short")
        case "bug":
            raise ValueError("a bug in the toy")
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "child":  # a child of the stage's own, to see whether it outlives the build
            if job.once and Path(job.pid).exists():
                return
            os.system(f"sleep 60 & echo $! > {job.pid}; wait")
        case "orphan":  # its server, or the build where there is none, is killed once
            first = place.scratch / "first"
            if not first.exists():
                first.touch()
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(60)
        case "full":
            for number in range(1000):
                (place.output / f"{number}").write_bytes(bytes(1 << 16))
        case "memory":
            bytearray(2 << 30)
        case "torch":
            import torch

            torch.empty(1 << 30)
        case "wrapped":  # as a library that loads its parts late
            try:
                bytearray(2 << 30)
            except MemoryError as error:
                raise RuntimeError("failed to load a part") from error
        case "linker":  # as the dynamic linker
            os.write(2, b"cannot allocate memory for thread-local data: ABORT\n")
            os._exit(127)
        case "abort":  # as C++ code that nobody catches
            os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
            os.abort()
        case "scratch":
            kept = place.scratch / "kept"
            if not kept.exists():
                kept.write_text("of the first attempt")
                raise UserError("the toy stops half way")
            place.output.joinpath("resumed").write_text(kept.read_text())
