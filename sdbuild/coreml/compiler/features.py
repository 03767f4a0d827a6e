"""Inputs and outputs: which kinds of them are known, whether the program agrees, and what ``metadata.json`` says of them."""

from collections.abc import Iterable
from typing import Any

from sdbuild.coreml.compiler.errors import CompileError, UnverifiedError
from sdbuild.coreml.proto import FeatureTypes_pb2, MIL_pb2

_IMAGE_SPECS = range(6, 9)
"""Specification versions at which images are let through: seen at 6 and 7; 8 has the same text format."""


def check_features(role: str, features: Iterable[Any], version: int, *, of_pipeline: bool = False) -> None:
    """Refuse what was never seen compiled.

    Args:
        role: "input" or "output".
        features: their ``FeatureDescription`` messages.
        version: the model's specification version.
        of_pipeline: whether they are those of a pipeline, which has numbers as inputs and outputs of open length.

    Raises:
        UnverifiedError: the message names the feature and what it is.
    """
    for feature in features:
        kind = feature.type.WhichOneof("Type")
        if kind == "imageType" and role == "input":
            problem = _image_problem(feature.type, version)
        elif kind == "multiArrayType":
            problem = _array_problem(feature.type, of_pipeline and role == "output")
        elif kind == "doubleType" and role == "input" and of_pipeline:
            problem = "which is optional" if feature.type.isOptional else None
        else:
            problem = f"of type {kind.removesuffix('Type')}" if kind else "of no type"
        if problem:
            raise UnverifiedError(f'the {role} "{feature.name}", {problem}')


def check_agreement(role: str, feature: Any, value_type: Any) -> None:
    """See that the program gives or takes what is described.

    Args:
        role: "input" or "output".
        feature: the ``FeatureDescription``, of a kind that `check_features` lets through.
        value_type: the ``ValueType`` that the program has under its name.

    Raises:
        CompileError: another element type or shape.
        UnverifiedError: something else than a tensor; an input described as flexible that is not so in the program, or
            the other way round; an image that is no float32 [1, 3, height, width].
    """
    name = f'the {role} "{feature.name}"'
    if value_type.WhichOneof("type") != "tensorType":
        raise UnverifiedError(f"{name}, in the program {value_type.WhichOneof('type')}")
    tensor = value_type.tensorType
    sizes = [int(d.constant.size) if d.HasField("constant") else None for d in tensor.dimensions]
    if feature.type.WhichOneof("Type") == "imageType":
        image = feature.type.imageType
        if tensor.dataType != MIL_pb2.FLOAT32 or len(sizes) != 4:
            raise UnverifiedError(f"{name}, an image that the program does not take as a float32 tensor of rank 4")
        if sizes != [1, 3, image.height, image.width]:
            raise CompileError(
                f"{name} is described as a color image of {image.width} × {image.height}, the program takes {_text(sizes)}"
            )
        return
    array = feature.type.multiArrayType
    described = FeatureTypes_pb2.ArrayFeatureType.ArrayDataType.Name(array.dataType)
    actual = MIL_pb2.DataType.Name(tensor.dataType) if tensor.dataType in MIL_pb2.DataType.values() else "?"
    if described != actual:
        raise CompileError(f"{name} is described as {described}, in the program it is {actual}")
    if role == "input" and is_ranged(feature) != (None in sizes):
        raise UnverifiedError(f"{name}, of flexible shape in the program or the description only")
    ranges = _ranges(array)
    if ranges and (
        len(ranges) != len(sizes)
        or any(
            size is not None and (size < low or (high >= 0 and size > high))
            for size, (low, high) in zip(sizes, ranges, strict=True)
        )
    ):
        raise CompileError(f"{name} is described as {_text(ranges)}, in the program it is {_text(sizes)}")


def is_ranged(feature: Any) -> bool:
    """Whether the feature's shape is given by a range for each dimension."""
    return bool(feature.type.multiArrayType.WhichOneof("ShapeFlexibility") == "shapeRange")


def schema(feature: Any) -> dict[str, str]:
    """An entry of ``inputSchema`` or ``outputSchema``, in the order of Apple's."""
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        return _image_schema(feature)
    if kind == "doubleType":
        entry = {"isOptional": "0", "formattedType": "Double", "type": "Double"}
        return entry | {"name": feature.name, "shortDescription": feature.shortDescription}
    return _array_schema(feature)


def _image_problem(feature_type: Any, version: int) -> str | None:
    image = feature_type.imageType
    if feature_type.isOptional:
        return "which is optional"
    if image.WhichOneof("SizeFlexibility"):
        return "an image of flexible size"
    if image.colorSpace != image.RGB:
        known = image.colorSpace in image.ColorSpace.values()
        return f"an image of the color space {image.ColorSpace.Name(image.colorSpace) if known else image.colorSpace}"
    if image.width < 1 or image.height < 1:
        return f"an image of {image.width} × {image.height}"
    if version not in _IMAGE_SPECS and version != 5:  # 5: a pipeline around a program of 6 or 7
        return f"an image at specification version {version}"
    return None


def _array_problem(feature_type: Any, open_ended: bool) -> str | None:
    array = feature_type.multiArrayType
    if feature_type.isOptional or array.WhichOneof("defaultOptionalValue"):
        return "which is optional"
    if array.dataType not in (array.FLOAT16, array.FLOAT32, array.INT32):
        known = array.dataType in array.ArrayDataType.values()
        return f"an array of {array.ArrayDataType.Name(array.dataType) if known else array.dataType}"
    flexibility = array.WhichOneof("ShapeFlexibility")
    if flexibility == "enumeratedShapes":
        return "of enumerated shapes"
    if flexibility == "shapeRange" and not open_ended:
        ranges = array.shapeRange.sizeRanges
        if len(ranges) != len(array.shape):
            return "of a shape range without a default shape"
        if any(size.upperBound < 0 for size in ranges):
            return "of a shape without upper bound"
    return None


def _ranges(array: Any) -> list[tuple[int, int]]:
    """What is allowed in each dimension, upper bounds below 0 being none; empty where no shape is described."""
    if array.WhichOneof("ShapeFlexibility") == "shapeRange":
        return [(size.lowerBound, size.upperBound) for size in array.shapeRange.sizeRanges]
    return [(size, size) for size in array.shape]


def _text(sizes: Iterable[Any]) -> str:
    words = []
    for size in sizes:
        low, high = size if isinstance(size, tuple) else (size, size)
        words.append("?" if low is None else f"{low}" if low == high else f"{low}..{high if high >= 0 else ''}")
    return f"[{', '.join(words)}]"


def _image_schema(feature: Any) -> dict[str, str]:
    """Width before height, as in the source that Apple published of an older version (DataType.cpp in coremltools)."""
    width, height = (str(size) for size in (feature.type.imageType.width, feature.type.imageType.height))
    return {
        "height": height,
        "colorspace": "RGB",
        "isOptional": "0",
        "width": width,
        "isColor": "1",
        "formattedType": f"Image (Color {width} × {height})",
        "hasSizeFlexibility": "0",
        "type": "Image",
        "shortDescription": feature.shortDescription,
        "name": feature.name,
    }


def _array_schema(feature: Any) -> dict[str, str]:
    """As the description has it: the sizes of a flexible array are its default sizes, or else the least."""
    array = feature.type.multiArrayType
    kind = array.ArrayDataType.Name(array.dataType).capitalize()
    shape = list(array.shape) or [low for low, _ in _ranges(array)]
    sizes = " × ".join(map(str, shape))
    common = {"isOptional": "0", "dataType": kind, "shape": str(shape), "name": feature.name}
    common |= {"formattedType": f"MultiArray ({kind} {sizes})" if sizes else f"MultiArray ({kind})"}
    common |= {"shortDescription": feature.shortDescription, "type": "MultiArray"}
    if is_ranged(feature):
        ranges = _ranges(array)
        flexibility = " × ".join(
            f"{low}" if low == high else f"{low}...{high if high >= 0 else ''}" for low, high in ranges
        )
        common |= {"hasShapeFlexibility": "1", "shapeFlexibility": flexibility, "shapeRange": str([*map(list, ranges)])}
        order = (
            "dataType hasShapeFlexibility isOptional shapeFlexibility shapeRange formattedType type shape name "
            "shortDescription"
        )
    else:
        common |= {"hasShapeFlexibility": "0"}
        order = "hasShapeFlexibility isOptional dataType formattedType shortDescription shape name type"
    return {key: common[key] for key in order.split()}
