"""Models that can be run in several ways: one of their functions, one of the shapes they allow; and parts of pipelines."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdbuild.coreml.compiler import compile_package
from sdbuild.coreml.package import read_package
from sdbuild.coreml.proto import Model_pb2
from sdbuild.coreml.runtime import InputError, ModelError, UnsupportedError, load
from tests.coreml.runtime.support import IOS16, IOS18, assert_close, ct, floats, mb, write
from tests.coreml.runtime.test_model import block, changed, describe

X, W = floats([4, 40], 1), floats([40, 40], 2)
"""The weight is large enough to be in the weight file."""


# Functions


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package that coremltools joined: "double" and "product", which is the default and takes y."""
    described = [
        changed(write(body, {name: X}, IOS18), describe)
        for name, body in (
            ("x", lambda x: mb.linear(x=mb.add(x=x, y=x), weight=W)),
            ("y", lambda y: mb.linear(x=y, weight=W)),
        )
    ]
    joined = ct.utils.MultiFunctionDescriptor()
    joined.add_function(str(described[0]), "main", "double")
    joined.add_function(str(described[1]), "main", "product")
    joined.default_function_name = "product"
    path = tmp_path_factory.mktemp("functions") / "several.mlpackage"
    ct.utils.save_multifunction(joined, str(path))
    return path


def test_a_function_is_chosen_by_name_or_is_the_default(several: Path) -> None:
    model = load(several)
    assert list(model.inputs) == ["y"]
    assert_close(list(model.predict({"y": X}).values()), [X @ W.T])
    model = load(several, function="double")
    assert list(model.inputs) == ["x"]
    assert_close(list(model.predict({"x": X}).values()), [2 * X @ W.T])
    with pytest.raises(InputError, match=re.escape("y not known. The model takes x: fp32 [4, 40]")):
        model.predict({"y": X})


def test_no_such_function(several: Path) -> None:
    with pytest.raises(ModelError, match=re.escape("no function 'main' (it has: double, product)")):
        load(several, function="main")
    with pytest.raises(ModelError, match=re.escape("no function 'other' (it has: main)")):
        load(write(lambda x: mb.relu(x=x), {"x": X}), function="other")


def test_a_function_that_the_description_lacks(several: Path) -> None:
    path = several.with_name("lacks.mlpackage")
    several.rename(path)
    package = read_package(path)
    data = package.model_file.read_bytes()
    del package.spec.description.functions[:1]
    package.model_file.write_bytes(package.spec.SerializeToString())
    missing = ({"double", "product"} - {each.name for each in package.spec.description.functions}).pop()
    with pytest.raises(ModelError, match=f"its description has no function '{missing}'"):
        load(path, function=missing)
    package.model_file.write_bytes(data)
    path.rename(several)


TEXT = """program(1.3)
{
    func one<ios18>(tensor<fp32, [2]> x) {
            tensor<fp32, [2]> y = relu(x = x)[name = string("y")];
        } -> (y);
    func two<ios18>(tensor<fp32, [2]> x) {
            tensor<fp32, [2]> z = exp(x = x)[name = string("z")];
        } -> (z);
}"""


def test_functions_of_a_compiled_model(tmp_path: Path) -> None:
    """How Apple's compiler writes several functions is not known; each is read as one alone is."""
    path = tmp_path / "model.mlmodelc"
    compile_package(changed(write(lambda x: mb.relu(x=x), {"x": X[0, :2].copy()}), describe), path)
    (path / "model.mil").write_text(TEXT)
    description = Model_pb2.ModelDescription(defaultFunctionName="two")
    for name, output in (("one", "y"), ("two", "z")):
        function = description.functions.add(name=name)
        function.input.add(name="x")
        function.output.add(name=output)
    data, message = bytearray((path / "coremldata.bin").read_bytes()[:0x4B]), description.SerializeToString()
    (path / "coremldata.bin").write_bytes(data + len(message).to_bytes(8, "little") + message)
    x = np.array([-1, 2], np.float32)
    assert_close([load(path).predict({"x": x})["z"]], [np.exp(x)])
    assert_close([load(path, function="one").predict({"x": x})["y"]], [np.maximum(x, 0)])
    with pytest.raises(ModelError, match=re.escape("no function 'main' (it has: one, two)")):
        load(path, function="main")


# Shapes


def loosened(spec: Any, *dimensions: int) -> Any:
    """The description of x, after these dimensions of all tensors were made flexible."""
    for value in (spec.mlProgram.functions["main"].inputs[0], block(spec).operations[-1].outputs[0]):
        for dimension in dimensions:
            value.type.tensorType.dimensions[dimension].unknown.variadic = False
    return spec.description.input[0].type


def test_a_chosen_shape_of_several(tmp_path: Path) -> None:
    def enumerated(spec: Any) -> None:
        for shape in ([2, 16], [4, 16], [4, 8]):
            loosened(spec, 0, 1).multiArrayType.enumeratedShapes.shapes.add(shape=shape)

    path = changed(write(lambda x: mb.relu(x=x), {"x": X}), enumerated)
    model = load(path)
    for shape in ([2, 16], [4, 16], [4, 8]):
        x = floats(shape)
        assert_close(list(model.predict({"x": x}).values()), [np.maximum(x, 0)])
    wanted = "input x: has shape [2, 8], the model takes one of [2, 16], [4, 16], [4, 8]"
    with pytest.raises(InputError, match=re.escape(wanted)):
        model.predict({"x": floats([2, 8])})


@pytest.mark.parametrize("ranged", [False, True])
def test_sizes_of_an_image(ranged: bool) -> None:
    def sized(spec: Any) -> None:
        image = loosened(spec, 2, 3).imageType
        if ranged:
            image.imageSizeRange.heightRange.lowerBound = image.imageSizeRange.heightRange.upperBound = 4
            image.imageSizeRange.widthRange.lowerBound, image.imageSizeRange.widthRange.upperBound = 6, -1
        else:
            image.enumeratedSizes.sizes.add(height=4, width=6)
            image.enumeratedSizes.sizes.add(height=8, width=6)

    model = load(changed(write(lambda x: mb.relu(x=x), {"x": floats([1, 3, 4, 6])}), sized))
    for shape in ([1, 3, 4, 6], [1, 3, 4, 60] if ranged else [1, 3, 8, 6]):
        x = floats(shape)
        assert_close(list(model.predict({"x": x}).values()), [np.maximum(x, 0)])
    wanted = "within [1..1, 3..3, 4..4, 6..]" if ranged else "one of [1, 3, 4, 6], [1, 3, 8, 6]"
    with pytest.raises(InputError, match=re.escape(f"has shape [1, 3, 4, 5], the model takes {wanted}")):
        model.predict({"x": floats([1, 3, 4, 5])})


# Pipelines


def test_pipelines_are_told_by_their_parts(tmp_path: Path) -> None:
    path = changed(write(lambda x: mb.relu(x=x), {"x": X}, IOS16), describe)

    def pipeline(spec: Any) -> None:
        inner = Model_pb2.Model()
        inner.CopyFrom(spec)
        spec.pipeline.models.add().CopyFrom(inner)
        spec.pipeline.models.add().nonMaximumSuppression.iouThreshold = 0.5

    told = "the model is of kind pipeline of mlProgram, nonMaximumSuppression; only ML Programs (mlProgram) can be run"
    with pytest.raises(UnsupportedError, match=re.escape(told)):
        load(changed(path, pipeline))


def test_a_program_of_a_compiled_pipeline_runs_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.mlmodelc"
    path.mkdir()
    compile_package(changed(write(lambda x: mb.relu(x=x), {"x": X}, IOS16), describe), path / "model0")
    with pytest.raises(UnsupportedError, match=re.escape(f"{path}: a compiled pipeline; only its ML Programs")) as told:
        load(path)
    assert str(told.value).endswith(str(path / "model0"))
    assert_close(list(load(path / "model0").predict({"x": X}).values()), [np.maximum(X, 0)])
