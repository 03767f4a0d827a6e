"""Which tensors of an adapter's file change which parameters of a model: found out from names and shapes alone."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod

from sdbuild.modeling.adapters import kinds
from sdbuild.modeling.adapters.kinds import MisfitError, Shape, expect
from sdbuild.modeling.adapters.magnitudes import MAGNITUDES, per_output
from sdbuild.modeling.adapters.names import adapter, foreign, split
from sdbuild.modeling.adapters.namings import namings
from sdbuild.modeling.adapters.strengths import NO_STRENGTHS, Strengths

Shapes = Mapping[str, Shape]


@dataclass(frozen=True)
class Change:
    """A difference of one parameter."""

    kind: str
    """A file of `sdbuild.modeling.adapters.kinds`."""
    rank: int
    """0 for what has none."""
    tensors: Mapping[str, str]
    """What a tensor is to the kind → its name in the file."""
    strength: float | None = None
    """As the file's configuration has it; None: alpha in the file over the rank, 1 without."""


@dataclass(frozen=True)
class Resolved:
    """What a file is to a pipeline."""

    changes: dict[str, dict[str, list[Change]]] = field(default_factory=dict)
    """Place → parameter → its differences."""
    elsewhere: list[str] = field(default_factory=list)
    """Names of tensors for components that are not built."""
    unused: dict[str, str] = field(default_factory=dict)
    """Name of a tensor that nothing takes → why."""


def resolve(
    stored: Shapes,
    models: Mapping[str, Shapes],
    others: Collection[str] = (),
    strengths: Strengths = NO_STRENGTHS,
) -> Resolved:
    """Find the layers.

    ``stored``: the shape of each tensor in the file; ``models``: of each parameter, by the place of the component;
    ``others``: the places of components that are not built.
    """
    found = Resolved({place: {} for place in models})
    called = sorted({name for key in stored if (name := adapter(key))})
    if len(called) > 1:
        found.unused.update(dict.fromkeys(stored, f"of several adapters ({', '.join(called)}); save one alone"))
        return found
    known, groups = _known(models), defaultdict[str, dict[str, str]](dict)
    twice: dict[str, str] = {}
    for key in stored:
        parts = split(key)
        if parts is None:
            found.unused[key] = foreign(key) or "no name that a LoRA has"
            continue
        layer, tensor = parts
        if (other := groups[layer].setdefault(tensor, key)) != key:
            twice[layer] = f"{other} and {key} are the same of one layer"
            found.unused[key] = twice[layer]
    for layer, reason in twice.items():
        found.unused.update(dict.fromkeys(groups.pop(layer).values(), reason))
    for layer, tensors in groups.items():
        if layer in known:
            found.unused.update(_assign(tensors, known[layer], stored, models, strengths, found.changes))
        elif _is_of(layer, others) and not _is_of(layer, models):
            found.elsewhere.extend(tensors.values())
        else:
            found.unused.update({key: foreign(key) or "the model has no such layer" for key in tensors.values()})
    return found


def _known(models: Mapping[str, Shapes]) -> dict[str, list[tuple[str, str]]]:
    """By each name that a layer may have in a file, its place and its own name, as the parameters have it."""
    known = defaultdict[str, list[tuple[str, str]]](list)
    for place, shapes in models.items():
        own = {_bare(place, layer): layer for layer in (name.rpartition(".")[0] for name in shapes)}
        for naming in namings():
            for name, layer in naming.layers(place, own):
                if (place, own[layer]) not in known[name]:
                    known[name].append((place, own[layer]))
    return known


def _bare(place: str, layer: str) -> str:
    return layer if place == "unet" else layer.removeprefix("text_model.")


def _is_of(layer: str, places: Collection[str]) -> bool:
    """Whether a name begins as those of a place do; the longest beginning counts."""
    prefixes = {p: place for naming in namings() for place, each in naming.PREFIXES.items() for p in each}
    longest = max((prefix for prefix in prefixes if layer.startswith(prefix)), key=len, default=None)
    return longest is not None and prefixes[longest] in places


def _assign(
    tensors: Mapping[str, str],
    candidates: list[tuple[str, str]],
    stored: Shapes,
    models: Mapping[str, Shapes],
    strengths: Strengths,
    changes: dict[str, dict[str, list[Change]]],
) -> Iterator[tuple[str, str]]:
    """Take the tensors of one layer; gives those that nothing takes, each with a reason."""
    fitting, why = [], ""
    for place, layer in candidates:
        try:
            fitting.append((place, layer, dict(_changes(tensors, layer, stored, models[place]))))
        except MisfitError as error:
            why = str(error)
    if len(fitting) != 1:
        places = " and ".join(place for place, _, _ in fitting)
        reason = f"it fits {places} alike, and its name does not say which" if fitting else why
        yield from ((key, reason) for key in tensors.values())
        return
    (place, layer, found), used = fitting[0], {"alpha"}
    for parameter, change in found.items():
        used.update(change.tensors)
        scaled = kinds.find(change.kind).SCALED and "alpha" not in tensors
        strength = strengths.of(place, layer, change.rank) if scaled else None
        changes[place].setdefault(parameter, []).append(Change(change.kind, change.rank, change.tensors, strength))
    for tensor, key in tensors.items():
        if tensor not in used or not found:
            yield key, "it is a part of something whose other parts are not there"


def _changes(tensors: Mapping[str, str], layer: str, stored: Shapes, model: Shapes) -> Iterator[tuple[str, Change]]:
    for name in kinds.names():
        kind = kinds.find(name)
        form = next((form for form in sorted(kind.FORMS, key=len, reverse=True) if form <= tensors.keys()), None)
        if form is None:
            continue
        parameter = f"{layer}.{kind.PARAMETER}"
        if parameter not in model:
            raise MisfitError(f"the model's layer has no {kind.PARAMETER}")
        taken = form | (kind.MAY & tensors.keys())
        extra = {"alpha", *MAGNITUDES} & tensors.keys() if kind.SCALED else set()
        shapes = {tensor: stored[tensors[tensor]] for tensor in sorted(taken | extra)}
        try:
            rank = kind.rank({tensor: shapes[tensor] for tensor in taken}, model[parameter])
            _check(shapes, model[parameter])
        except MisfitError as error:
            raise MisfitError(f"{error} for a weight {list(model[parameter])}") from None
        yield parameter, Change(name, rank, {tensor: tensors[tensor] for tensor in shapes})


def _check(shapes: Shapes, weight: Shape) -> None:
    """What holds of every kind. A magnitude has one number for each output, or one for each input."""
    for tensor, shape in shapes.items():
        expect(0 not in shape, f"an empty {tensor}")
        if tensor in MAGNITUDES:
            expect(prod(shape) == weight[0 if per_output(tensor, shape, weight) else 1], f"magnitude {list(shape)}")
    expect(prod(shapes.get("alpha", ())) == 1, "an alpha of several numbers")
    expect(not set(MAGNITUDES) <= shapes.keys(), "two magnitudes")
