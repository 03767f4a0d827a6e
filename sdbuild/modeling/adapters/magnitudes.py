"""The magnitudes of DoRA: which there are, and what their numbers are of."""

from sdbuild.modeling.adapters.kinds import Shape

MAGNITUDES = ("magnitude", "magnitude_of_outputs")
"""LyCORIS' name for it, and PEFT's, whose numbers are of the outputs in any case."""


def per_output(name: str, magnitude: Shape, weight: Shape) -> bool:
    """Whether a magnitude's numbers are of a layer's outputs, or of its inputs.

    LyCORIS' have the shape [out, 1, …] or [1, in, …].
    """
    return name == "magnitude_of_outputs" or len(magnitude) < 2 or magnitude[0] == weight[0]
