"""Fan a recipe out: each of its variants laid over what they share."""

from __future__ import annotations

from pydantic_core import PydanticCustomError

from sdbuild.delivered import ALL, is_taken
from sdbuild.recipe.document import Entry, Mapping, Scalar, Sequence, describe, merge
from sdbuild.recipe.fields import check_name
from sdbuild.recipe.problems import Problem, Span

_VARIANT = "write - {name: small, compress: {unet: [{palettize: {bits: 4}}]}}"


def builds(top: Mapping, problems: list[Problem]) -> list[tuple[str | None, Mapping]]:
    """Each variant's name with its whole recipe; a single None for a recipe without variants.

    What is wrong with the variants themselves is added to `problems`.
    """
    written = {key: entry for key, entry in top.entries.items() if key != "variants"}
    base = merge(Mapping({}, top.span), without_empty(Mapping(written, top.span), problems))
    entry = top.entries.get("variants")
    if entry is None:
        return [(None, base)]
    listed = entry.value
    if not isinstance(listed, Sequence) or not listed.items:
        found = "an empty list" if isinstance(listed, Sequence) else describe(listed)
        problems.append(Problem(listed.span, f"expected a list of variants, found {found}", (_VARIANT,)))
        return [(None, base)]
    names: dict[str, Span] = {}
    fanned: list[tuple[str | None, Mapping]] = []
    for item in listed.items:
        if not isinstance(item, Mapping):
            problems.append(Problem(item.span, f"expected a variant, found {describe(item)}", (_VARIANT,)))
            continue
        patch = {
            key: value for key, value in item.entries.items() if key not in ("name", "schema", "variants", "extends")
        }
        for key in ("schema", "variants", "extends"):
            if key in item.entries:
                problems.append(Problem(item.entries[key].key, f"'{key}' can't differ between variants"))
        name = _variant_name(item, names, problems)
        fanned.append((name, merge(base, without_empty(Mapping(patch, item.span), problems))))
    return fanned


def _variant_name(item: Mapping, names: dict[str, Span], problems: list[Problem]) -> str:
    entry = item.entries.get("name")
    if entry is None:
        span = next(iter(item.entries.values())).key if item.entries else item.span
        problems.append(Problem(span, "a variant needs a name", (_VARIANT,)))
        return "?"
    value = entry.value
    if not isinstance(value, Scalar) or not isinstance(value.value, str):
        found = describe(value)
        problems.append(Problem(value.span, f"a variant's name is text, not {found}", _in_quotes(value)))
        return "?"
    name = value.value
    try:
        check_name(name)
    except PydanticCustomError as error:
        context = error.context or {}
        problems.append(Problem(value.span, str(context["message"]), tuple(context["notes"])))
    if name == ALL:
        what = f"no variant can be called '{ALL}': `generate variant={ALL}` uses every one"
        problems.append(Problem(value.span, what, ("give it another name",)))
    if is_taken(name):
        what = f"no variant can be called '{name}': a build writes something of that name beside variants' folders"
        problems.append(Problem(value.span, what, ("give it another name",)))
    if name in names:
        problems.append(Problem(value.span, f"line {names[name].line + 1} has a variant '{name}' already"))
    names.setdefault(name, value.span)
    return name


def _in_quotes(value: object) -> tuple[str, ...]:
    if isinstance(value, Scalar) and value.value is not None:
        return (f'put it in quotes: "{value.text}"',)
    return ()


def without_empty(mapping: Mapping, problems: list[Problem]) -> Mapping:
    """A key left empty by mistake must not count as the null that stands for the default."""
    entries = {}
    for key, entry in mapping.entries.items():
        value = entry.value
        if isinstance(value, Mapping):
            value = without_empty(value, problems)
        elif isinstance(value, Scalar) and value.value is None and not value.text and not value.broken:
            problems.append(Problem(entry.key, f"'{key}' has no value", ("write a value, or null for the default",)))
            value = value._replace(broken=True)
        entries[key] = Entry(entry.key, value)
    return Mapping(entries, mapping.span, mapping.size)
