"""Damaged packages and compiled models: whatever is opened is read, or refused in one line."""

import math
import resource
import shutil
import signal
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdbuild.bundle.compiled import read_compiled
from sdbuild.coreml.compiler import compile_package
from sdbuild.coreml.package import write_package
from sdbuild.coreml.runtime import InputError, load
from sdbuild.coreml.runtime.program import NUMPY_TYPES
from sdbuild.errors import UserError
from tests.coreml.compiler.models import MODELS, Builder, linear, tensor_type, value
from tests.coreml.compiler.test_pipelines import detector
from tests.coreml.mutations import damage

_ROOM = 512 << 20
"""Bytes that a reader may take beyond what the process has: the models have some kilobytes."""

_SECONDS = 20
_LARGE = 1 << 20
_BATCH = 125


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Sound packages and compiled models."""
    folder = tmp_path_factory.mktemp("sound")
    packages = [model.package(folder / f"{name}.mlpackage") for name, model in MODELS.items()]
    packages += [linear(f"CoreML{number}").package(folder / f"linear_{number}.mlpackage") for number in (5, 8)]
    packages.append(write_package(folder / "detector.mlpackage", detector(), None).path)
    packages.append(_loop(folder / "loop.mlpackage"))
    compiled = [package.with_suffix(".mlmodelc") for package in packages if package.stem != "loop"]
    for each in compiled:
        compile_package(each.with_suffix(".mlpackage"), each)
    return packages + compiled


def _loop(path: Path) -> Path:
    """What coremltools writes for a loop, a branch and a list."""
    ct = pytest.importorskip("coremltools")
    mb = pytest.importorskip("coremltools.converters.mil").Builder

    @mb.program(input_specs=[mb.TensorSpec((1, 4))], opset_version=ct.target.iOS16)
    def program(x: Any) -> Any:
        added = mb.while_loop(_cond=lambda n: mb.less(x=n, y=3.0), _body=lambda n: mb.add(x=n, y=1.0), loop_vars=(0.0,))
        chosen = mb.cond(
            pred=mb.greater(x=mb.reduce_sum(x=x, axes=[0, 1], keep_dims=False), y=0.0),
            _true_fn=lambda: mb.relu(x=x),
            _false_fn=lambda: mb.tanh(x=x),
        )
        parts = mb.make_list(init_length=2, elem_shape=(1, 4), dtype="fp32")
        parts = mb.list_write(ls=parts, index=0, value=chosen)
        return mb.mul(x=mb.list_read(ls=parts, index=0), y=added[0] if isinstance(added, tuple | list) else added)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ct.convert(program, minimum_deployment_target=ct.target.iOS16).save(str(path))
    return path


@pytest.mark.parametrize("batch", range(4))
def test_damage_ends_in_one_line(batch: int, sources: list[Path]) -> None:
    _try(sources, range(batch * _BATCH, (batch + 1) * _BATCH))


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(40))
def test_much_damage_ends_in_one_line(batch: int, sources: list[Path]) -> None:
    _try(sources, range(1000 + batch * 500, 1000 + (batch + 1) * 500))


@pytest.mark.parametrize(("kind", "least", "most"), [("INT4", -8, 7), ("UINT4", 0, 15), ("UINT1", 0, 1)])
def test_an_input_of_a_few_bits_takes_what_they_hold(kind: str, least: int, most: int, tmp_path: Path) -> None:
    model = Builder("CoreML7")
    model.input("x", "INT32", [2])
    model.function.inputs[0].type.CopyFrom(tensor_type(kind, [2]))
    model.op("cast", "y", [tensor_type("INT32", [2])], {"x": "x", "dtype": value("STRING", "int32")})
    model.output("y", "INT32", [2])
    loaded = load(model.package(tmp_path / "a.mlpackage"))
    assert loaded.predict({"x": np.array([least, most])})["y"].tolist() == [least, most]
    for beyond in (least - 1, most + 1):
        with pytest.raises(InputError, match="the model takes"):
            loaded.predict({"x": np.array([0, beyond])})


def _try(sources: list[Path], seeds: range) -> None:
    failures = []
    with tempfile.TemporaryDirectory() as home, _little_memory():
        for seed in seeds:
            source = sources[seed % len(sources)]
            folder = Path(home) / str(seed)
            folder.mkdir()
            try:
                with _little_time(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    _one(source, folder, seed)
            except Exception:
                failures.append(f"seed {seed}, {source.name}:\n{traceback.format_exc()}")
            shutil.rmtree(folder)
        assert not list(Path(home).iterdir()), "something was written beside the target"
    assert not failures, f"{len(failures)} of {len(seeds)}\n" + "\n".join(failures)


def _one(source: Path, folder: Path, seed: int) -> None:
    """Damage a model and give it to every reader there is for it."""
    damaged, out = folder / source.name, folder / "out.mlmodelc"
    damage(source, damaged, seed)
    before = _files(folder)
    if source.suffix == ".mlpackage":
        if not _refused(lambda: compile_package(damaged, out)):
            assert (out / "coremldata.bin").is_file()
            shutil.rmtree(out)
    else:
        for violation in read_compiled(damaged, source.name)[1]:
            assert str(violation).isprintable()
    _refused(lambda: _run(damaged))
    assert _files(folder) == before, "something was written"


def _run(path: Path) -> None:
    """Load a model, and run it on inputs of the shapes that it says it takes, unless these are large.

    A damaged loop may be one without end, which is what its program says: it is loaded alone.
    """
    model, rng = load(path), np.random.default_rng(0)
    if path.stem == "loop":
        return
    inputs = {}
    for name, kind in model.inputs.items():
        shape = [1 if size is None else size for size in kind.shape]
        if math.prod(shape) > _LARGE:
            return
        values = rng.integers(0, 2, shape)
        inputs[name] = values.astype(np.float32 if kind.dtype.startswith("fp") else NUMPY_TYPES[kind.dtype])
    model.predict(inputs)


def _refused(action: Any) -> bool:
    try:
        action()
    except UserError as error:
        assert str(error), "a refusal without words"
        assert str(error).isprintable()
        return True
    return False


def _files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in folder.rglob("*")}


@contextmanager
def _little_memory() -> Iterator[None]:
    """Allocations far beyond the size of a model fail."""
    status = Path("/proc/self/status")
    if not status.exists():
        yield
        return
    (used,) = [int(line.split()[1]) << 10 for line in status.read_text().splitlines() if line.startswith("VmData")]
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (used + _ROOM, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, limits)


@contextmanager
def _little_time() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise AssertionError(f"takes more than {_SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
