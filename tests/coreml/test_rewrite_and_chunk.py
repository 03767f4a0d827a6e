"""Compressed and chunked packages compute what they should, and coremltools reads them."""

from pathlib import Path

import numpy as np
import pytest

from sdbuild.compress.palettize import palettize, palettize_kept
from sdbuild.coreml.chunk import chunk
from sdbuild.coreml.encodings import Codes, Dense, Encoding, Sparse
from sdbuild.coreml.package import Package, read_package
from sdbuild.coreml.rewrite import Weight, rewrite
from sdbuild.coreml.runtime import load
from sdbuild.errors import UserError
from sdbuild.opset import Opset
from tests.architectures import CONFIGS
from tests.coreml.compiler.models import Builder, tensor_type, value
from tests.coreml.convert.test_convert import _feed, arguments, convert_component, psnr


def compress(source: Package, path: Path, bits: int) -> Package:
    def encode(weight: Weight) -> Encoding:
        if weight.data.size < 512 or weight.data.ndim < 2 or any(user.type == "gather" for user in weight.users):
            return Dense(weight.data)
        return palettize(weight.data, bits, weight.name)

    return rewrite(source, path, encode, lambda done, total: None)


@pytest.mark.parametrize("opset", [Opset.IOS16, Opset.IOS18])
@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8])
def test_coremltools_decodes_the_palettes_to_the_nearest_entries(opset: Opset, bits: int, tmp_path: Path) -> None:
    ct = pytest.importorskip("coremltools")
    from coremltools.converters.mil.frontend.milproto.load import load as load_mil

    package, _, model = convert_component(tmp_path, "vae_decoder", CONFIGS["vae_decoder"], opset=opset)
    small = compress(package, tmp_path / "small.mlpackage", bits)
    reloaded = ct.models.MLModel(str(small.path), skip_model_load=True)
    program = load_mil(reloaded.get_spec(), reloaded.get_spec().specificationVersion, reloaded.weights_dir)
    decoded = {
        op.outputs[0].name: op for op in program.functions["main"].operations if op.op_type == "constexpr_lut_to_dense"
    }
    name = "decoder_conv_in_weight_to_fp16"
    weight = model.state_dict()["decoder.conv_in.weight"].half().numpy()
    palette = palettize(weight, bits, name)
    values = decoded[name].materialized_val_inference()
    nearest = np.abs(weight.astype(np.float64).reshape(-1, 1) - palette.tables.reshape(-1).astype(np.float64)).min(
        axis=1
    )
    np.testing.assert_array_equal(np.abs(weight.astype(np.float64) - values).reshape(-1), nearest)


def test_the_rest_of_the_package_stays_as_it_was(tmp_path: Path) -> None:
    package, _, _ = convert_component(tmp_path, "clip_text", CONFIGS["clip_text"])
    same = rewrite(package, tmp_path / "same.mlpackage", lambda weight: Dense(weight.data), lambda done, total: None)
    assert same.weights is not None
    assert package.weights is not None
    assert same.weights.read_bytes() == package.weights.read_bytes()
    assert same.spec == package.spec


@pytest.mark.parametrize("opset", [Opset.IOS16, Opset.IOS18])
def test_a_weight_larger_than_what_may_wait_is_written_at_once(
    opset: Opset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, _, _ = convert_component(tmp_path, "vae_decoder", CONFIGS["vae_decoder"], opset=opset)
    expected = compress(package, tmp_path / "expected.mlpackage", 4)
    monkeypatch.setattr("sdbuild.coreml.rewrite._AHEAD", 0)
    small = compress(package, tmp_path / "small.mlpackage", 4)
    assert small.weights is not None
    assert expected.weights is not None
    assert small.weights.read_bytes() == expected.weights.read_bytes()
    assert small.spec == expected.spec


def test_eight_bits_are_close_and_one_bit_is_not(tmp_path: Path) -> None:
    package, component, _ = convert_component(tmp_path, "unet", CONFIGS["unet"])
    feed = _feed("unet", arguments("unet", component), package)
    whole = load(package.path).predict(feed)["noise_pred"]
    eight = load(compress(package, tmp_path / "8.mlpackage", 8).path).predict(feed)["noise_pred"]
    one = load(compress(package, tmp_path / "1.mlpackage", 1).path).predict(feed)["noise_pred"]
    assert psnr(whole, eight) > 40 > psnr(whole, one) + 10


def thin(source: Package, path: Path) -> Package:
    """Sparse palettes, of two operations each: every other weight becomes zero."""

    def encode(weight: Weight) -> Encoding:
        if weight.data.size < 512 or weight.data.ndim < 2:
            return Dense(weight.data)
        mask = Codes("uint1", np.full(weight.data.size // 8, 0b01010101, np.uint8), weight.data.shape)
        return palettize_kept(Sparse(mask, Dense(weight.data.reshape(-1)[::2].copy())), 6, weight.name)

    return rewrite(source, path, encode, lambda done, total: None)


FORMS = {
    "float": (Opset.IOS16, None),
    "palettized": (Opset.IOS16, lambda source, path: compress(source, path, 6)),
    "sparse palettes": (Opset.IOS18, thin),
}


@pytest.mark.parametrize("form", FORMS)
def test_two_chunks_compute_what_the_whole_does(form: str, tmp_path: Path) -> None:
    opset, make_small = FORMS[form]
    package, component, _ = convert_component(tmp_path, "unet", CONFIGS["unet"], opset=opset)
    package.spec.description.metadata.userDefined["com.github.apple.coremltools.version"] = "8.3.0"
    if make_small is not None:
        package = make_small(package, tmp_path / "small.mlpackage")
    first, second = chunk(package, tmp_path / "1.mlpackage", tmp_path / "2.mlpackage", lambda done, total: None)
    feed = _feed("unet", arguments("unet", component), package)
    linked = load(first.path).predict({name: feed[name] for name in inputs(first)})
    between = {name: array.astype(np.float16) for name, array in linked.items()} | feed
    result = load(second.path).predict({name: between[name] for name in inputs(second)})
    assert psnr(load(package.path).predict(feed)["noise_pred"], result["noise_pred"]) > 60
    assert inputs(first)[0] == "sample"
    for part, title in ((first, "First"), (second, "Second")):
        assert part.spec.description.metadata.shortDescription.endswith(f"{title} of two parts.")
        assert part.spec.description.metadata.userDefined["com.github.apple.coremltools.version"] == "8.3.0"
        links = [f for f in (*part.spec.description.input, *part.spec.description.output) if f.name.endswith("_link")]
        assert {f.shortDescription for f in links} == {"Passed on from the first part to the second"}
    assert set(inputs(second)) <= set(feed) | set(linked)
    sizes = [part.weights.stat().st_size for part in (first, second) if part.weights]
    assert 0.4 < sizes[0] / sum(sizes) < 0.6


def test_a_model_without_weights_is_not_cut(tmp_path: Path) -> None:
    package, _, _ = convert_component(tmp_path, "vae_decoder", CONFIGS["vae_decoder"])
    assert package.weights is not None
    package.weights.unlink()
    with pytest.raises(UserError, match="has no weight file"):
        chunk(read_package(package.path), tmp_path / "1.mlpackage", tmp_path / "2.mlpackage", lambda done, total: None)


@pytest.mark.parametrize("tied", [True, False])
def test_a_weight_that_both_halves_use_is_named(tied: bool, tmp_path: Path) -> None:
    model = Builder("CoreML7")
    model.input("x", "FLOAT16", [1, 64])
    model.const("table", model.blob("FLOAT16", [64, 64]))
    model.const("small", model.blob("FLOAT16", [16, 64]))
    last = "x"
    for index, weight in enumerate(["table", "small", "table" if tied else "small"]):
        width = 16 if weight == "small" else 64
        bias = value("FLOAT16", [0.0] * width)
        model.op(
            "linear", f"y{index}", [tensor_type("FLOAT16", [1, width])], {"x": "x", "weight": weight, "bias": bias}
        )
        last = f"y{index}"
    model.output(last, "FLOAT16", [1, 64 if tied else 16])
    package = read_package(model.package(tmp_path / "tied.mlpackage"))
    why = ": both halves use the weight table, 80% of it all, which each would hold" if tied else ""
    with pytest.raises(UserError) as caught:
        chunk(package, tmp_path / "1.mlpackage", tmp_path / "2.mlpackage", lambda done, total: None)
    assert str(caught.value) == (
        f"chunk: tied.mlpackage has no place to cut within 5% of half its weight{why}; build it whole"
    )


def inputs(package: Package) -> list[str]:
    return [feature.name for feature in package.spec.description.input]
