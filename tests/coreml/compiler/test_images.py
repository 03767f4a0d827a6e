"""Packages that take images, as coremltools writes them, and what Apple's compiler is known to make of such."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdbuild.coreml.compiler import CompileError, compile_package
from sdbuild.coreml.package import read_package, write_package

warnings.filterwarnings("ignore")
ct = pytest.importorskip("coremltools")
mb = pytest.importorskip("coremltools.converters.mil").Builder


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Takes an image of 8 × 6 pixels, width first."""

    @mb.program(input_specs=[mb.TensorSpec((1, 3, 6, 8))], opset_version=ct.target.iOS15)
    def program(image: Any) -> Any:
        return mb.reduce_mean(x=image, axes=[1, 2, 3], keep_dims=False, name="brightness")

    image = ct.ImageType(name="image", shape=(1, 3, 6, 8), scale=1 / 255)
    model = ct.convert(program, inputs=[image], minimum_deployment_target=ct.target.iOS15)
    model.input_description["image"] = "A photo"
    path = tmp_path_factory.mktemp("images") / "photo.mlpackage"
    model.save(str(path))
    return path


def changed(package: Path, path: Path, change: Callable[[Any], object]) -> Path:
    spec = read_package(package).spec
    change(spec)
    return write_package(path, spec, None).path


def test_an_image_leaves_no_trace_in_the_program_and_has_a_schema(package: Path, tmp_path: Path) -> None:
    compile_package(package, tmp_path / "out")
    assert "func main<ios15>(tensor<fp32, [1, 3, 6, 8]> image) {\n" in (tmp_path / "out/model.mil").read_text()
    (metadata,) = json.loads((tmp_path / "out/metadata.json").read_text())
    (schema,) = metadata["inputSchema"]
    assert list(schema.items()) == [
        ("height", "6"),
        ("colorspace", "RGB"),
        ("isOptional", "0"),
        ("width", "8"),
        ("isColor", "1"),
        ("formattedType", "Image (Color 8 × 6)"),
        ("hasSizeFlexibility", "0"),
        ("type", "Image"),
        ("shortDescription", "A photo"),
        ("name", "image"),
    ]
    assert metadata["computePrecision"] == "Mixed (Float16, Float32, Int32)"


def _image(spec: Any) -> Any:
    return spec.description.input[0].type.imageType


def _output(spec: Any) -> None:
    spec.description.output[0].type.imageType.width = 8


def _newest(spec: Any) -> None:
    spec.specificationVersion = 9


def _sizes(spec: Any) -> None:
    _image(spec).imageSizeRange.widthRange.upperBound = 9


REFUSED: dict[str, tuple[Callable[[Any], object], str]] = {
    "gray": (
        lambda s: setattr(_image(s), "colorSpace", 10),
        'the input "image", an image of the color space GRAYSCALE',
    ),
    "bgr": (lambda s: setattr(_image(s), "colorSpace", 30), 'the input "image", an image of the color space BGR'),
    "space": (lambda s: setattr(_image(s), "colorSpace", 7), 'the input "image", an image of the color space 7'),
    "range": (_sizes, 'the input "image", an image of flexible size'),
    "several": (lambda s: _image(s).enumeratedSizes.sizes.add(), 'the input "image", an image of flexible size'),
    "optional": (
        lambda s: setattr(s.description.input[0].type, "isOptional", True),
        'the input "image", which is optional',
    ),
    "no size": (lambda s: setattr(_image(s), "width", 0), 'the input "image", an image of 0 × 6'),
    "output": (_output, 'the output "brightness", of type image'),
    "iOS 18": (_newest, 'the input "image", an image at specification version 9'),
    "half": (
        lambda s: setattr(s.mlProgram.functions["main"].inputs[0].type.tensorType, "dataType", 10),
        'the input "image", an image that the program does not take as a float32 tensor of rank 4',
    ),
    "turned": (
        lambda s: (setattr(_image(s), "width", 6), setattr(_image(s), "height", 8)),
        'the input "image" is described as a color image of 6 × 8, the program takes [1, 3, 6, 8]',
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_apples_output_does_not_show_of_images_is_refused(case: str, package: Path, tmp_path: Path) -> None:
    change, message = REFUSED[case]
    other = changed(package, tmp_path / "other.mlpackage", change)
    with pytest.raises(CompileError) as caught:
        compile_package(other, tmp_path / "out")
    assert str(caught.value).removeprefix(f"{other}: ").partition(": not verified")[0] == message
    assert not (tmp_path / "out").exists()
