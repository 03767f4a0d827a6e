"""Two compression steps, added from a folder of these tests: they are all that a step of sdbuild's own is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdbuild.coreml.encodings import Dense, Encoding
from sdbuild.coreml.package import Package, read_package
from sdbuild.coreml.rewrite import Weight, rewrite
from sdbuild.coreml.runtime import load
from sdbuild.opset import Opset
from tests.architectures import CONFIGS
from tests.coreml.convert.test_convert import _feed, arguments, convert_component, psnr
from tests.extensions import STEPS, python


def outcomes(
    folder: Path, steps: Mapping[str, tuple[str, str]], packages: Mapping[str, Path] | None = None, toys: bool = True
) -> dict[str, Any]:
    """By name of a case, of steps and a system, what a recipe with such steps comes to, or why it is refused."""
    cases = []
    for number, (name, (written, system)) in enumerate(steps.items()):
        recipe, package = folder / f"{number}.yaml", (packages or {}).get(name)
        recipe.write_text(
            f"name: x\npipeline: sd1\nmodel: {{source: builtin:shapes}}\ncomponents: [unet]\ntarget: {{os: {system}}}\n"
            f"compress:\n  unet: {written}\n"
        )
        cases.append([str(recipe), package and str(package), str(folder / name)])
    done = python([STEPS] if toys else [], "-m", "tests.compress.with_toys", json.dumps(cases))
    assert done.returncode == 0, done.stderr
    return dict(zip(steps, json.loads(done.stdout), strict=True))


PLANNED = {
    "eight bits": ("[palettize: {bits: 8}]", "iOS18"),
    "quantize": ("[quantize: {}]", "iOS18"),
    "both": ("[thin: {keep: 0.25}, quantize: {bits: 4, op_types: {linear: {bits: 8}}}]", "iOS18"),
    "pruned palettes": ("[thin: {keep: 0.25}, palettize: {bits: 6}]", "iOS18"),
    "older": ("[quantize: {}]", "iOS16"),
}
REFUSED = {
    "misspelt": ("[quantise: {}]", "iOS18", "unknown key 'quantise'", "did you mean 'quantize'?"),
    "unknown": ("[squeeze: {}]", "iOS18", "unknown key 'squeeze'", "allowed: palettize, quantize, thin"),
    "value": ("[quantize: {bits: 5}]", "iOS18", "'bits' can't be the number 5", "allowed: 4, 8"),
    "type": (
        "[quantize: {op_types: {conf: {bits: 4}}}]",
        "iOS18",
        "'conf' is not a type of op",
        "did you mean 'conv'?",
    ),
    "override": ("[quantize: {parameters: {a: {bit: 4}}}]", "iOS18", "unknown key 'bit'", "did you mean 'bits'?"),
    "form": ("[quantize: {parameters: 4}]", "iOS18", "expected a mapping", "For example {'mid_block.*': {'bits': 4}}"),
    "system": ("[quantize: {}]", "iOS15", "iOS15 can't hold 8-bit linear weights", "name a target from iOS16"),
    "of override": (
        "[quantize: {op_types: {conv: {bits: 4}}}]",
        "iOS17",
        "iOS17 can't hold 4-bit linear weights",
        "iOS18",
    ),
    "joint": ("[thin: {}, palettize: {bits: 4}]", "iOS17", "iOS17 can't hold sparse palettes", "iOS18"),
    "codes": (
        "[quantize: {}, palettize: {bits: 4}]",
        "iOS18",
        "'unet' is quantized already",
        "palettize needs numbers",
    ),
    "of palettes": ("[palettize: {bits: 4}, thin: {}]", "iOS18", "'unet' is palettized already", "thin needs numbers"),
    "twice": ("[quantize: {}, quantize: {}]", "iOS18", "'unet' is quantized already", "one quantize step for each"),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    cases = PLANNED | {name: (steps, system) for name, (steps, system, *_) in REFUSED.items()}
    return outcomes(tmp_path_factory.mktemp("recipes"), cases)


def test_a_step_is_planned_sized_and_in_the_schema(found: dict[str, Any]) -> None:
    plain, quantized, both = (found[name] for name in ("eight bits", "quantize", "both"))
    assert quantized["steps"] == ["palettize", "quantize", "thin"]
    assert [each["bits"] for each in (quantized, both)] == ["8 (linear)", "25% (sparse) + 4 (linear)"]
    assert found["pruned palettes"]["bits"] == "25% (sparse) + 6 (palettes)"
    assert quantized["size"] == plain["size"]
    assert both["size"] == pytest.approx(plain["size"] * (1 + 0.25 * 4) / 8, rel=1e-5)
    assert both["versions"] == {"thin": 1, "quantize": 7}


def test_old_systems_expand_what_any_step_packed(found: dict[str, Any]) -> None:
    assert any("iOS16 expands the compressed weights of unet" in warning for warning in found["older"]["warnings"])
    assert not any("expands" in warning for warning in found["quantize"]["warnings"])


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_is_refused_in_the_recipe(case: str, found: dict[str, Any]) -> None:
    _, _, *texts = REFUSED[case]
    for text in texts:
        assert text in found[case]


def test_other_steps_make_no_package_again(found: dict[str, Any], tmp_path: Path) -> None:
    alone = outcomes(tmp_path, {"eight bits": PLANNED["eight bits"]}, toys=False)["eight bits"]
    assert alone["steps"] == ["palettize"]
    assert alone["key"] == found["eight bits"]["key"]


COMPRESSED: dict[str, tuple[str, float, dict[str, int]]] = {
    "mixed": (
        "[quantize: {bits: 4, min_elements: 0, op_types: {conv: {bits: 8}, mul: null}}]",
        1,
        {"conv": 8, "linear": 4, "matmul": 4},
    ),
    "sparse": (
        "[thin: {keep: 0.3, min_elements: 0, op_types: {mul: null}}, quantize: {min_elements: 0, op_types: {mul: null}}]",
        0.3,
        {"conv": 8, "linear": 8, "matmul": 8},
    ),
}


def test_what_is_compressed_computes_with_the_right_numbers(tmp_path: Path) -> None:
    source, component, _ = convert_component(tmp_path, "unet", CONFIGS["unet"], opset=Opset.IOS18)
    steps = {name: (written, "iOS18") for name, (written, *_) in COMPRESSED.items()}
    done = outcomes(tmp_path, steps, dict.fromkeys(steps, source.path))
    feed = _feed("unet", arguments("unet", component), source)
    whole = predict(source, feed)
    for name, (_, keep, bits) in COMPRESSED.items():
        assert "size" in done[name], done[name]
        package = read_package(tmp_path / name / "output" / source.path.name)

        def dense(weight: Weight, bits: dict[str, int] = bits, keep: float = keep) -> Encoding:
            """The numbers that the steps stand for, computed with NumPy alone."""
            width = next((bits[user.type] for user in weight.users if user.type in bits), None)
            return Dense(weight.data if weight.data.ndim < 2 or width is None else numbers(weight, width, keep))

        plain = rewrite(source, tmp_path / name / "plain.mlpackage", dense, lambda done, total: None)
        small = predict(package, feed)
        np.testing.assert_array_equal(small, predict(plain, feed), err_msg=name)
        assert psnr(whole, small) > {"mixed": 15, "sparse": 3}[name]
        assert size(package) < 0.7 * size(plain) == 0.7 * size(source)


def numbers(weight: Weight, bits: int, keep: float) -> np.ndarray:
    data = weight.data.astype(np.float32)
    others = tuple(axis for axis in range(data.ndim) if axis != weight.users[0].axis)
    scale = (np.abs(data).max(others, keepdims=True) / (2 ** (bits - 1) - 1)).astype(np.float16)
    values = (np.rint(data / scale.astype(np.float32)) * scale.astype(np.float32)).astype(np.float16)
    if keep < 1:
        values[np.abs(data) <= np.quantile(np.abs(data), 1 - keep)] = 0
    return values


def predict(package: Package, feed: Any) -> np.ndarray:
    return load(package.path).predict(feed)["noise_pred"]


def size(package: Package) -> int:
    assert package.weights is not None
    return package.weights.stat().st_size
