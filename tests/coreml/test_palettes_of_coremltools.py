"""What compress writes beside what coremltools' ``palettize_weights`` writes: the same form, no worse a content."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdbuild.coreml.blob import BlobReader
from sdbuild.coreml.mil import shape_of
from sdbuild.coreml.package import Package, read_package
from tests.coreml.small import small
from tests.stages.test_compress import compress

ct = pytest.importorskip("coremltools")


def palettes(package: Package) -> dict[str, dict[str, Any]]:
    """By the operation that takes it, what each lookup table is made of: types, shapes, blobs and their content."""
    assert package.weights is not None
    reader, found = BlobReader(package.weights), {}
    for function in package.spec.mlProgram.functions.values():
        operations = function.block_specializations[function.opset].operations
        takers = {
            binding.name: op.outputs[0].name
            for op in operations
            for key in ("weight", "x", "y")
            if key in op.inputs
            for binding in op.inputs[key].arguments
        }
        for op in operations:
            if op.type == "constexpr_lut_to_dense":
                parts = {key: value for key, value in op.attributes.items() if key != "name"}
                parts |= {key: argument.arguments[0].value for key, argument in op.inputs.items()}
                found[takers[op.outputs[0].name]] = {
                    "output": op.outputs[0].type.SerializeToString(deterministic=True),
                    **{key: (value.type.tensorType.dataType, shape_of(value.type)) for key, value in parts.items()},
                    "content": {key: _content(value, reader) for key, value in parts.items()},
                }
    return found


def _content(value: Any, reader: BlobReader) -> tuple[Any, ...]:
    if value.HasField("blobFileValue"):
        blob = reader.read(value.blobFileValue.offset)
        return (blob.type, blob.padding_bits, len(blob.data), blob.data.tobytes())
    content = value.immediateValue.tensor.bytes.values
    return (None, 0, len(content), content)


def squared_error(package: Package, original: Package) -> float:
    """Of all palettized weights, decoded by coremltools."""
    from coremltools.converters.mil.frontend.milproto.load import load as load_mil

    def values(each: Package) -> dict[str, np.ndarray]:
        model = ct.models.MLModel(str(each.path), skip_model_load=True)
        program = load_mil(model.get_spec(), model.get_spec().specificationVersion, model.weights_dir)
        found = {}
        for op in program.functions["main"].operations:
            for taker in op.outputs[0].child_ops[:1]:
                if op.op_type == "constexpr_lut_to_dense":
                    found[taker.name] = op.materialized_val_inference()
                elif op.op_type == "const" and op.outputs[0].rank > 1 and not taker.op_type.startswith("constexpr_"):
                    found[taker.name] = op.val.val
        return {name: np.asarray(array, np.float64) for name, array in found.items()}

    before = values(original)
    return float(sum(((before[name] - after) ** 2).sum() for name, after in values(package).items()))


FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"iOS16 {bits}": ("iOS16", {"bits": bits}) for bits in (1, 2, 4, 6, 8)},
    **{f"iOS18 {bits}": ("iOS18", {"bits": bits}) for bits in (1, 2, 3, 4, 6, 8)},
    **{
        f"iOS18 {bits} grouped": ("iOS18", {"bits": bits, "granularity": "per_grouped_channel", "group_size": 32})
        for bits in (2, 3, 4, 6)
    },
    "iOS18 4 along 1": ("iOS18", {"bits": 4, "granularity": "per_grouped_channel", "group_size": 32, "axis": 1}),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_form_is_that_of_coremltools_and_the_content_as_good(form: str, tmp_path: Path) -> None:
    import coremltools.optimize.coreml as cto

    target, options = FORMS[form]
    source = small(target)
    renamed = {"bits": "nbits", "axis": "channel_axis"}
    config = cto.OpPalettizerConfig(**{renamed.get(key, key): value for key, value in options.items()})
    model = ct.models.MLModel(str(source), skip_model_load=True)
    cto.palettize_weights(model, cto.OptimizationConfig(config)).save(str(tmp_path / "theirs.mlpackage"))
    theirs = read_package(tmp_path / "theirs.mlpackage")
    ours = compress(read_package(source), tmp_path, exact=True, **options)
    expected, found = palettes(theirs), palettes(ours)
    assert len(expected) == 3
    for name, palette in expected.items():
        content, own = palette.pop("content"), found[name].pop("content")
        assert found[name] == palette
        assert {key: each[:3] for key, each in own.items()} == {key: each[:3] for key, each in content.items()}
        if "shape" in content:
            assert own["shape"] == content["shape"]
        tables = [np.frombuffer(each["lut"][3], np.float16).astype(np.float64) for each in (own, content)]
        np.testing.assert_allclose(tables[0], tables[1], rtol=2**-9, atol=1e-5)
    original = read_package(source)
    assert squared_error(ours, original) <= squared_error(theirs, original) * (1 + 1e-6)
