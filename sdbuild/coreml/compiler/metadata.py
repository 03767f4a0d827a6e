"""``metadata.json``: what Xcode shows of a model, and what apps read before they load it.

Laid out as Apple's: two-space indent, ``"key" : value``, slashes escaped, an empty line in empty lists.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from sdbuild.coreml.compiler.features import schema
from sdbuild.coreml.compiler.operations import histogram_key
from sdbuild.coreml.compiler.pipeline import Pipeline
from sdbuild.coreml.compiler.precision import compute_precision, storage_precision
from sdbuild.coreml.compiler.program import Main

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


_PIPELINE_ORDER = (
    "metadataOutputVersion userDefinedMetadata classLabels availability inputSchema outputSchema modelParameters "
    "storagePrecision method version isUpdatable specificationVersion stateSchema computePrecision "
    "mlProgramOperationTypeHistogram shortDescription license generatedClassName author modelType"
)


def program_metadata(spec: Any, main: Main, package: Path) -> str:
    """The whole file, without an end of line at its end; maps are sorted by key."""
    fields = _fields(spec, main, package) | {"modelType": {"name": "MLModelType_mlProgram"}}
    described = any(fields[key] for key in ("shortDescription", "version", "author", "license"))
    return _ordered(fields, _DESCRIBED_ORDER if described else _PLAIN_ORDER)


def pipeline_metadata(spec: Any, pipeline: Pipeline, package: Path) -> str:
    """The same of a pipeline: its boundary and texts are its own; precisions and operations those of its program."""
    structure = [{"name": f"MLModelType_{model.WhichOneof('Type')}"} for model in spec.pipeline.models]
    fields = _fields(spec, pipeline.main, package) | {
        "modelType": {"name": "MLModelType_pipeline", "structure": structure},
        "classLabels": pipeline.class_labels,
    }
    return _ordered(fields, _PIPELINE_ORDER)


def _fields(spec: Any, main: Main, package: Path) -> dict[str, Any]:
    description = spec.description
    return {
        "shortDescription": description.metadata.shortDescription,
        "version": description.metadata.versionString,
        "author": description.metadata.author,
        "license": description.metadata.license,
        "metadataOutputVersion": "3.0",
        "storagePrecision": storage_precision(main),
        "outputSchema": [schema(feature) for feature in description.output],
        "modelParameters": [],
        "specificationVersion": spec.specificationVersion,
        "mlProgramOperationTypeHistogram": _histogram(main),
        "computePrecision": compute_precision(main),
        "isUpdatable": "0",
        "stateSchema": [],
        "availability": _AVAILABILITY[spec.specificationVersion],
        "userDefinedMetadata": dict(sorted(description.metadata.userDefined.items())),
        "inputSchema": [schema(feature) for feature in description.input],
        "generatedClassName": class_name(package),
        "method": "predict",
    }


def _ordered(fields: dict[str, Any], order: str) -> str:
    return _json([{key: fields[key] for key in order.split() if fields[key] not in (None, "")}])


def class_name(package: Path) -> str:
    """The package's name as that of a class: what cannot stand in one becomes ``_``."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", package.absolute().stem)
    return f"_{name}" if name[0].isdigit() else name


def _histogram(main: Main) -> dict[str, int]:
    counts = Counter(operation.type for operation in main.operations if operation.type != "const")
    return dict(sorted((str(histogram_key(kind, main.opset.system)), count) for kind, count in counts.items()))


def _json(value: Any, indent: str = "") -> str:
    inner = indent + "  "
    if isinstance(value, dict):
        lines = [f"{inner}{_json(key)} : {_json(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list):
        return "[\n" + ",\n".join(inner + _json(item, inner) for item in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False).replace("/", "\\/")
