"""Pipelines, as far as compiled ones were seen: a detector, which is an ML Program and non-maximum suppression after it.

They were seen with the outer specification version 5 around a program of 7, by a compiler so old that it wrote no
``metadata.json`` for pipelines, and with 6 around 6, by one that does; everything else is refused by name.
"""

from dataclasses import dataclass
from typing import Any

from sdbuild.coreml.compiler.errors import CompileError, UnverifiedError
from sdbuild.coreml.compiler.program import Main, check_description, find_main

_KINDS = ["mlProgram", "nonMaximumSuppression"]
_INNER = {5: (6, 7), 6: (6,), 7: (7,)}
"""By specification version of the pipeline, those of its program."""

_WITH_METADATA = 6


@dataclass(frozen=True)
class Pipeline:
    """The parts of a pipeline: ``Model`` messages, and the function of the first."""

    program: Any
    main: Main
    suppression: Any

    @property
    def class_labels(self) -> list[str]:
        """The names of what is detected."""
        return list(self.suppression.nonMaximumSuppression.stringClassLabels.vector)


def find_pipeline(spec: Any) -> Pipeline:
    """The parts of a pipeline that may be compiled.

    Raises:
        UnverifiedError: it has something in it that the compiler does not vouch for; the message names it.
        CompileError: its parts do not fit together.
    """
    kinds = [model.WhichOneof("Type") or "none" for model in spec.pipeline.models]
    if kinds != _KINDS:
        raise UnverifiedError(f"a pipeline of {', '.join(kinds) or 'nothing'} (known: {', '.join(_KINDS)})")
    if spec.pipeline.names:
        raise UnverifiedError(f"a pipeline that names its models: {', '.join(spec.pipeline.names)}")
    program, suppression = spec.pipeline.models
    outer, inner = spec.specificationVersion, program.specificationVersion
    if inner not in _INNER.get(outer, ()) or suppression.specificationVersion != outer:
        raise UnverifiedError(
            f"a pipeline of specification version {outer} around models of {inner} and {suppression.specificationVersion}"
        )
    for model in (spec, suppression):
        check_description(model, of_pipeline=True)
    labels = suppression.nonMaximumSuppression.WhichOneof("ClassLabels")
    if labels != "stringClassLabels":
        raise UnverifiedError(f"non-maximum suppression with class labels of the kind {labels or 'none'}")
    main = find_main(program)
    _check_wiring(spec.description, program.description, suppression)
    return Pipeline(program, main, suppression)


def has_metadata(spec: Any) -> bool:
    """Whether a pipeline gets a ``metadata.json``."""
    return bool(spec.specificationVersion >= _WITH_METADATA)


def _check_wiring(outer: Any, program: Any, suppression: Any) -> None:
    """See that each part takes what there is, and that the whole takes and gives what its parts do."""
    own = suppression.nonMaximumSuppression
    thresholds = {own.iouThresholdInputFeatureName, own.confidenceThresholdInputFeatureName} - {""}
    outputs = {own.confidenceOutputFeatureName, own.coordinatesOutputFeatureName}
    tensors = {own.confidenceInputFeatureName, own.coordinatesInputFeatureName}
    for what, here, there in (
        ("inputs of the pipeline", _names(outer.input), _names(program.input) | thresholds),
        ("outputs of the pipeline", _names(outer.output), outputs),
        ("inputs of its suppression", _names(suppression.description.input) - thresholds, tensors),
        ("outputs of its suppression", _names(suppression.description.output), outputs),
        ("outputs of its program", _names(program.output) & tensors, tensors),
    ):
        if here != there:
            listed, wanted = (", ".join(sorted(names)) or "none" for names in (here, there))
            raise CompileError(f"the {what} ({listed}) are not those that its parts have ({wanted})")


def _names(features: Any) -> set[str]:
    return {feature.name for feature in features}
