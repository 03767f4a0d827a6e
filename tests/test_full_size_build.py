"""Whole recipes at their real size, from random weights: minutes and 25 GB of disk each.

    pytest -n0 -m slow tests/test_full_size_build.py

SDBUILD_FULL_SIZE names a folder where the models are kept for the next time.
"""

import json
import os
import zipfile
from pathlib import Path

import pytest
from coremltools.converters.mil.frontend.milproto.load import load as load_mil

from benchmarks.full_size import Bench
from benchmarks.measure import GIB
from sdbuild.coreml.package import read_package

pytestmark = pytest.mark.slow


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    kept = os.environ.get("SDBUILD_FULL_SIZE")
    bench = Bench(Path(kept) if kept else tmp_path)
    bench.folder.mkdir(parents=True, exist_ok=True)
    bench.fresh()
    return bench


def test_sdxl_within_four_gib(bench: Bench) -> None:
    """The README's 8 GB machine: no process can have more than 4 GiB of its own, the engine among them."""
    bench.build(bench.recipe("sdxl-ios", "sdxl", {}, like="sdxl-ios"), limit=4 * GIB)
    result = bench.folder / "build/sdxl-ios"
    manifest = json.loads((result / "manifest.json").read_text())
    assert set(manifest["models"]) == {"TextEncoder", "TextEncoder2", "Unet", "VAEDecoder"}
    assert manifest["models"]["Unet"]["size"] == pytest.approx(2_567_463_684 * 6 / 8, rel=0.01)
    _reload(result / "packages/Unet.mlpackage")
    (archive,) = result.glob("*.zip")
    with zipfile.ZipFile(archive) as content:
        assert content.testzip() is None
    bench.fresh()


def test_sd15_in_chunks_is_read_by_coremltools(bench: Bench) -> None:
    bench.build(bench.recipe("sd15", "sd1", {"chunk": True}, like="sd15-ios"))
    for part in (1, 2):
        size = _reload(bench.folder / f"build/sd15-ios/packages/UnetChunk{part}.mlpackage")
        assert size == pytest.approx(859_520_964 * 6 / 8 / 2, rel=0.06)
    bench.fresh()


def _reload(path: Path) -> int:
    """Have coremltools read a package's program with all its weights, whose bytes are returned."""
    package = read_package(path)
    assert package.weights is not None
    program = load_mil(package.spec, package.spec.specificationVersion, str(package.weights.parent))
    assert len(program.functions["main"].operations) > 1000
    return package.weights.stat().st_size
