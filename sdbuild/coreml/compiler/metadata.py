"""``metadata.json``: what Xcode shows of a model, and what apps read before they load it.

Laid out as Apple's: two-space indent, ``"key" : value``, slashes escaped, an empty line in empty lists.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from sdbuild.coreml.compiler.operations import histogram_key
from sdbuild.coreml.compiler.precision import compute_precision, storage_precision
from sdbuild.coreml.compiler.program import Main, is_ranged

_AVAILABILITY = {
    6: {"macOS": "12.0", "tvOS": "15.0", "visionOS": "1.0", "watchOS": "8.0", "iOS": "15.0", "macCatalyst": "15.0"},
    7: {"macOS": "13.0", "tvOS": "16.0", "visionOS": "1.0", "watchOS": "9.0", "iOS": "16.0", "macCatalyst": "16.0"},
    8: {"macOS": "14.0", "tvOS": "17.0", "visionOS": "1.0", "watchOS": "10.0", "iOS": "17.0", "macCatalyst": "17.0"},
    9: {"macOS": "15.0", "tvOS": "18.0", "visionOS": "2.0", "watchOS": "11.0", "iOS": "18.0", "macCatalyst": "18.0"},
}
"""The first systems that run a model, by specification version."""

_PLAIN_ORDER = (
    "metadataOutputVersion storagePrecision outputSchema modelParameters specificationVersion "
    "mlProgramOperationTypeHistogram computePrecision isUpdatable stateSchema availability modelType "
    "userDefinedMetadata inputSchema generatedClassName method"
)
_DESCRIBED_ORDER = (
    "shortDescription metadataOutputVersion outputSchema version modelParameters author specificationVersion "
    "storagePrecision license mlProgramOperationTypeHistogram computePrecision stateSchema isUpdatable availability "
    "modelType inputSchema userDefinedMetadata generatedClassName method"
)


def metadata_json(spec: Any, main: Main, package: Path) -> str:
    """The whole file, without an end of line at its end; maps are sorted by key."""
    description = spec.description
    described = {
        "shortDescription": description.metadata.shortDescription,
        "version": description.metadata.versionString,
        "author": description.metadata.author,
        "license": description.metadata.license,
    }
    fields = {
        "metadataOutputVersion": "3.0",
        "storagePrecision": storage_precision(main),
        "outputSchema": [_schema(feature) for feature in description.output],
        "modelParameters": [],
        "specificationVersion": spec.specificationVersion,
        "mlProgramOperationTypeHistogram": _histogram(main),
        "computePrecision": compute_precision(main),
        "isUpdatable": "0",
        "stateSchema": [],
        "availability": _AVAILABILITY[spec.specificationVersion],
        "modelType": {"name": "MLModelType_mlProgram"},
        "userDefinedMetadata": dict(sorted(description.metadata.userDefined.items())),
        "inputSchema": [_schema(feature) for feature in description.input],
        "generatedClassName": class_name(package),
        "method": "predict",
    } | described
    order = _DESCRIBED_ORDER if any(described.values()) else _PLAIN_ORDER
    return _json([{key: fields[key] for key in order.split() if fields[key] not in (None, "")}])


def class_name(package: Path) -> str:
    """The package's name as that of a class: what cannot stand in one becomes ``_``."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", package.absolute().stem)
    return f"_{name}" if name[0].isdigit() else name


def _histogram(main: Main) -> dict[str, int]:
    counts = Counter(operation.type for operation in main.operations if operation.type != "const")
    return dict(sorted((str(histogram_key(kind, main.opset)), count) for kind, count in counts.items()))


def _schema(feature: Any) -> dict[str, str]:
    """An input or output, as the description has it: the sizes of a flexible one are its default sizes."""
    array = feature.type.multiArrayType
    kind = array.ArrayDataType.Name(array.dataType).capitalize()
    sizes = " × ".join(map(str, array.shape))
    common = {"isOptional": "0", "dataType": kind, "shape": str(list(array.shape)), "name": feature.name}
    common |= {"formattedType": f"MultiArray ({kind} {sizes})" if sizes else f"MultiArray ({kind})"}
    common |= {"shortDescription": feature.shortDescription, "type": "MultiArray"}
    if is_ranged(feature):
        ranges = [[size.lowerBound, size.upperBound] for size in array.shapeRange.sizeRanges]
        flexibility = " × ".join(f"{low}" if low == high else f"{low}...{high}" for low, high in ranges)
        common |= {"hasShapeFlexibility": "1", "shapeFlexibility": flexibility, "shapeRange": str(ranges)}
        order = (
            "dataType hasShapeFlexibility isOptional shapeFlexibility shapeRange formattedType type shape name "
            "shortDescription"
        )
    else:
        common |= {"hasShapeFlexibility": "0"}
        order = "hasShapeFlexibility isOptional dataType formattedType shortDescription shape name type"
    return {key: common[key] for key in order.split()}


def _json(value: Any, indent: str = "") -> str:
    inner = indent + "  "
    if isinstance(value, dict):
        lines = [f"{inner}{_json(key)} : {_json(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list):
        return "[\n" + ",\n".join(inner + _json(item, inner) for item in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False).replace("/", "\\/")
