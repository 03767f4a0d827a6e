"""Detectors: an ML Program and non-maximum suppression, against what three compiled ones show."""

import base64
import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdbuild.coreml.compiler import CompileError, compile_package
from sdbuild.coreml.package import write_package
from sdbuild.coreml.proto import FeatureTypes_pb2, Model_pb2
from tests.coreml.compiler.models import Builder, tensor_type, value

_ARRAY = FeatureTypes_pb2.ArrayFeatureType
THRESHOLDS = ("iouThreshold", "confidenceThreshold")


def detector(outer: int = 6, inner: str = "CoreML5") -> Any:
    """A pipeline of the kind that detectors come in: an image in, open lists of boxes out."""
    program = Builder(inner)
    program.function.inputs.add(name="image", type=tensor_type("FLOAT32", [1, 3, 4, 4]))
    for name, width in (("scores", 2), ("boxes", 4)):
        constant = value("FLOAT32", [0.5] * 3 * width, [3, width])
        program.op("add", name, [tensor_type("FLOAT32", [3, width])], {"x": constant, "y": value("FLOAT32", 0.25)})
        program.output(name, "FLOAT32", [3, width])
    spec = Model_pb2.Model(specificationVersion=outer)
    suppression = Model_pb2.Model(specificationVersion=outer)
    own = suppression.nonMaximumSuppression
    own.pickTop.perClass = True
    own.stringClassLabels.vector.extend(["cat", "dög"])
    own.confidenceInputFeatureName, own.coordinatesInputFeatureName = "scores", "boxes"
    own.confidenceOutputFeatureName, own.coordinatesOutputFeatureName = "confidence", "coordinates"
    own.iouThresholdInputFeatureName, own.confidenceThresholdInputFeatureName = THRESHOLDS
    suppression.description.input.extend(program.spec.description.output)
    for description in (spec.description, suppression.description):
        for name, width in (("confidence", 2), ("coordinates", 4)):
            array = description.output.add(name=name).type.multiArrayType
            array.dataType = _ARRAY.FLOAT32
            array.shapeRange.sizeRanges.add(lowerBound=0, upperBound=-1)
            array.shapeRange.sizeRanges.add(lowerBound=width, upperBound=width)
    for description in (spec.description, program.spec.description):
        image = description.input.add(name="image").type.imageType
        image.width, image.height, image.colorSpace = 4, 4, image.RGB
    for name in THRESHOLDS:
        spec.description.input.add(name=name, shortDescription=f"the {name}").type.doubleType.SetInParent()
    spec.description.metadata.author = "Nobody"
    spec.pipeline.models.extend([program.spec, suppression])
    return spec


def compiled(spec: Any, folder: Path) -> Path:
    package = write_package(folder / "cats.mlpackage", spec, None).path
    compile_package(package, folder / "cats.mlmodelc", build_info={})
    return folder / "cats.mlmodelc"


def words(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def test_the_files_of_a_detector(tmp_path: Path) -> None:
    spec = detector()
    out = compiled(spec, tmp_path)
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == {
        *("coremldata.bin", "metadata.json", "analytics/coremldata.bin", "model1/coremldata.bin"),
        *("model0/coremldata.bin", "model0/model.mil", "model0/analytics/coremldata.bin"),
    }
    assert "func main<ios15>(tensor<fp32, [1, 3, 4, 4]> image) {" in (out / "model0/model.mil").read_text()
    top = (out / "coremldata.bin").read_bytes()
    name = words("generic.model0v5.0.0generic.model1v1.0.0spec")
    head = struct.pack("<I3q", 202, 1, 0, 1) + name + struct.pack("<3qQ", 6, 0, 0, 0)
    assert top[:0x70] == head
    assert top[-16:] == struct.pack("<QII", 2, 202, 0)
    assert top[0x70:0x78] == struct.pack("<Q", len(top) - 0x70 - 8 - 16)
    assert Model_pb2.ModelDescription.FromString(top[0x78:-16]) == spec.description
    second = (out / "model1/coremldata.bin").read_bytes()
    assert second[:0x48] == struct.pack("<I3q", 610, 1, 0, 0) + words("spec") + struct.pack("<3qQ", 6, 0, 0, 0)
    assert Model_pb2.Model.FromString(second[0x48:]) == spec.pipeline.models[1]
    inner = (out / "model0/coremldata.bin").read_bytes()
    assert inner[:0x4B] == struct.pack("<I3q", 502, 5, 0, 0) + words("generic") + struct.pack("<3qQ", 6, 0, 0, 0)


def test_the_telemetry_of_a_detector(tmp_path: Path) -> None:
    out = compiled(detector(), tmp_path)
    details = words("NeuralNetworkModelDetails") + struct.pack("<Q", 2)
    details += words("containsCustomLayer") + words("0") + words("modelDimension") + words("0")
    assert (out / "model0/analytics/coremldata.bin").read_bytes() == details
    digest = hashlib.sha256((tmp_path / "cats.mlpackage/Data/com.apple.CoreML/model.mlmodel").read_bytes()).digest()
    whole = words("PipelineModelDetails") + struct.pack("<Q", 1) + words("modelDimension") + words("2")
    whole += words("SpecificationDetails") + struct.pack("<Q", 2)
    whole += words("modelHash") + words(base64.b64encode(digest).decode()) + words("modelName") + words("model")
    assert (out / "analytics/coremldata.bin").read_bytes() == whole


def test_the_metadata_of_a_detector(tmp_path: Path) -> None:
    (metadata,) = json.loads((compiled(detector(), tmp_path) / "metadata.json").read_text())
    assert metadata["modelType"] == {
        "name": "MLModelType_pipeline",
        "structure": [{"name": "MLModelType_mlProgram"}, {"name": "MLModelType_nonMaximumSuppression"}],
    }
    assert metadata["classLabels"] == ["cat", "dög"]
    assert metadata["mlProgramOperationTypeHistogram"] == {"Add": 2}
    assert metadata["computePrecision"] == "Float32"
    assert metadata["generatedClassName"] == "cats"
    assert [entry["type"] for entry in metadata["inputSchema"]] == ["Image", "Double", "Double"]
    assert list(metadata["inputSchema"][1].items()) == [
        ("isOptional", "0"),
        ("formattedType", "Double"),
        ("type", "Double"),
        ("name", "iouThreshold"),
        ("shortDescription", "the iouThreshold"),
    ]
    assert list(metadata["outputSchema"][0].items()) == [
        ("dataType", "Float32"),
        ("hasShapeFlexibility", "1"),
        ("isOptional", "0"),
        ("shapeFlexibility", "0... × 2"),
        ("shapeRange", "[[0, -1], [2, 2]]"),
        ("formattedType", "MultiArray (Float32 0 × 2)"),
        ("type", "MultiArray"),
        ("shape", "[0, 2]"),
        ("name", "confidence"),
        ("shortDescription", ""),
    ]


def test_an_old_pipeline_has_no_metadata_as_none_was_seen(tmp_path: Path) -> None:
    out = compiled(detector(5, "CoreML6"), tmp_path)
    assert not (out / "metadata.json").exists()
    assert (out / "coremldata.bin").read_bytes()[0x50:0x58] == struct.pack("<q", 5)
    assert "func main<ios16>" in (out / "model0/model.mil").read_text()


def _models(spec: Any) -> Any:
    return spec.pipeline.models


def _own(spec: Any) -> Any:
    return _models(spec)[1].nonMaximumSuppression


def _numbered(spec: Any) -> None:
    _own(spec).int64ClassLabels.vector.append(1)


REFUSED: dict[str, tuple[Callable[[Any], object], str]] = {
    "empty": (
        lambda s: s.pipeline.ClearField("models"),
        "a pipeline of nothing (known: mlProgram, nonMaximumSuppression)",
    ),
    "two programs": (
        lambda s: _models(s)[1].CopyFrom(_models(s)[0]),
        "a pipeline of mlProgram, mlProgram (known: mlProgram, nonMaximumSuppression)",
    ),
    "names": (lambda s: s.pipeline.names.append("a"), "a pipeline that names its models: a"),
    "versions": (
        lambda s: setattr(s, "specificationVersion", 7),
        "a pipeline of specification version 7 around models of 6 and 6",
    ),
    "updatable": (lambda s: setattr(s, "isUpdatable", True), "an updatable model"),
    "numbers": (_numbered, "non-maximum suppression with class labels of the kind int64ClassLabels"),
    "string": (
        lambda s: s.description.input[1].type.stringType.SetInParent(),
        'the input "iouThreshold", of type string',
    ),
    "inner": (lambda s: setattr(_models(s)[0].mlProgram, "version", 2), "a program of version 2"),
    "wiring": (
        lambda s: setattr(_own(s), "coordinatesInputFeatureName", "places"),
        "the inputs of its suppression (boxes, scores) are not those that its parts have (places, scores)",
    ),
    "boundary": (
        lambda s: s.description.input.pop(),
        "the inputs of the pipeline (image, iouThreshold) are not those that its parts have "
        "(confidenceThreshold, image, iouThreshold)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_pipelines_are_refused_by_name(case: str, tmp_path: Path) -> None:
    change, message = REFUSED[case]
    spec = detector()
    change(spec)
    with pytest.raises(CompileError) as caught:
        compiled(spec, tmp_path)
    assert str(caught.value).removeprefix(f"{tmp_path / 'cats.mlpackage'}: ").partition(": not verified")[0] == message
    assert not (tmp_path / "cats.mlmodelc").exists()
