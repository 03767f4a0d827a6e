"""A YAML tree against a pydantic model: the model, or every problem with its place in the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from sdbuild.recipe.compression import NOT_YET
from sdbuild.recipe.document import Location, Mapping, Scalar, Tree, describe, find, is_null, nearest, parse, plain
from sdbuild.recipe.fields import EVERYTHING
from sdbuild.recipe.files import read_text, split_lines
from sdbuild.recipe.problems import SHOWN, Problem, Span, allowed, display, hint, report

M = TypeVar("M", bound=BaseModel)

_EXPLAINED = 2 * SHOWN  # errors; the search for what was meant takes milliseconds for each

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "union_tag_not_found": "text or a mapping of keys to values",
    "union_tag_invalid": "text or a mapping of keys to values",
}
_LIMITS = {
    "greater_than_equal": "must be {ge:.12g} or more",
    "greater_than": "must be more than {gt:.12g}",
    "less_than": "must be less than {lt:.12g}",
    "less_than_equal": "must be {le:.12g} or less",
    "too_short": "at least {min_length} must be given",
    "string_too_short": "must not be empty",
    "string_too_long": "must have {max_length} characters or fewer",
}


def load_model(model: type[M], path: Path) -> M:
    """A YAML file as a model. Raises RecipeError with every problem in it."""
    text = read_text(path)
    tree, problems = parse(text)
    mapping = top_level(tree, problems)
    instance = None
    if mapping is not None:
        instance, more, _ = validate(model, mapping)
        problems = [*without_explained(problems, more), *more]
    if instance is None or problems:
        raise report(problems, display(path), split_lines(text))
    return instance


def top_level(tree: Tree | None, problems: list[Problem], file: str = "") -> Mapping | None:
    """The mapping that a file should hold; anything else adds a problem."""
    if isinstance(tree, Mapping):
        return tree
    if tree is not None:
        what = "nothing but comments" if isinstance(tree, Scalar) and tree.value is None else describe(tree)
        problems.append(Problem(tree.span, f"expected keys and values, found {what}", ("write lines of `key: value`",)))
    elif not problems:
        problems.append(Problem(Span(0, 0, 1, file), "the file is empty", ("write lines of `key: value`",)))
    return None


def validate(model: type[M], tree: Mapping) -> tuple[M | None, list[Problem], set[str]]:
    """The model if the tree fits it, else its problems, and the top-level keys that have them."""
    try:
        return model.model_validate(plain(tree)), [], set()
    except ValidationError as error:
        details = error.errors(include_url=False)
    problems = [problem for detail in details[:_EXPLAINED] for problem in _explain(model, tree, detail)]
    return None, problems, {str(detail["loc"][0]) for detail in details if detail["loc"]}


def unknown_nulls(model: type[BaseModel], tree: Mapping) -> Iterator[Problem]:
    """Null under keys that the model doesn't have, which `merge` would drop; the tree may lack others that it must have."""
    if not _has_null(tree):
        return
    try:
        model.model_validate(plain(tree))
    except ValidationError as error:
        for detail in error.errors(include_url=False)[:_EXPLAINED]:
            place = find(tree, detail["loc"])
            if detail["type"] == "extra_forbidden" and place is not None and is_null(place[1]):
                yield _unknown_key(model, place[0], detail["loc"])


def _has_null(tree: Mapping) -> bool:
    below = [entry.value for entry in tree.entries.values()]
    return any(_has_null(each) if isinstance(each, Mapping) else is_null(each) for each in below)


def without_explained(read: Iterable[Problem], found: Iterable[Problem]) -> list[Problem]:
    """Problems of reading a file, but for those that validation has found, too, and knows what to write instead."""
    known = {(problem.span, problem.message) for problem in found}
    return [problem for problem in read if (problem.span, problem.message) not in known]


def _explain(model: type[BaseModel], tree: Mapping, detail: ErrorDetails) -> Iterator[Problem]:
    location: Location = detail["loc"]
    if location[-1:] == (EVERYTHING,) and find(tree, location) is None:
        location = location[:-1]  # the file has one number for all
    kind, context = detail["type"], detail.get("ctx", {})
    key_span, value = nearest(tree, location)
    span = value.span if isinstance(value, Scalar) or value.span.width > 1 else key_span  # a block starts lines below
    field, _ = _walk(model, location)
    if kind == "missing":
        holder, _ = nearest(tree, location[:-1])
        name = _last_key(location[:-1])
        where = f" under '{name}'" if name else ""
        yield Problem(holder, f"'{location[-1]}' is missing{where}", _about(field))
    elif kind == "extra_forbidden":
        yield _unknown_key(model, key_span, location)
    elif isinstance(value, Scalar) and value.odd:
        yield Problem(span, value.odd, _instead(kind, context, location, field))
    elif isinstance(value, Scalar) and value.broken:
        return
    elif kind == "sdbuild":
        yield Problem(span, str(context["message"]), tuple(context["notes"]))
    elif isinstance(value, Scalar) and value.value is None:
        yield Problem(key_span, f"'{_last_key(location)}' has no value", (*_about(field), "or remove the key"))
    elif kind == "literal_error":
        choices = list(_literals(field.annotation)) if field else []
        later = NOT_YET.get((_last_key(location), value.value if isinstance(value, Scalar) else None))
        near = hint(value.text, [c for c in choices if isinstance(c, str)]) if isinstance(value, Scalar) else ()
        notes = (*((later,) if later else near), allowed(choices), *_unquote(value, choices))
        yield Problem(span, f"'{_last_key(location)}' can't be {describe(value)}", notes)
    elif kind in _EXPECTED:
        message = f"expected {_EXPECTED[kind]}, found {describe(value)}"
        yield Problem(span, message, (*_rewrite(kind, value), *_about(field)))
    else:
        said = _LIMITS[kind].format(**context) if kind in _LIMITS else str(detail["msg"])
        yield Problem(span, f"'{_last_key(location)}': {said}", _about(field))


def _instead(kind: str, context: dict[str, Any], location: Location, field: FieldInfo | None) -> tuple[str, ...]:
    """What may stand where something odd does."""
    if kind == "literal_error" and field:
        return (allowed(_literals(field.annotation)),)
    if kind == "sdbuild":
        return (str(context["message"]), *context["notes"])
    if kind in _LIMITS:
        return (f"'{_last_key(location)}': {_LIMITS[kind].format(**context)}", *_about(field))
    return (*((f"write {_EXPECTED[kind]}",) if kind in _EXPECTED else ()), *_about(field))


def _unknown_key(model: type[BaseModel], span: Span, location: Location) -> Problem:
    key = str(location[-1])
    _, levels = _walk(model, location[:-1])
    names = [name for level in levels for name in _names(level)]
    elsewhere = [place for name, place in _all_places(model) if name == key and place]
    if elsewhere:
        notes: tuple[str, ...] = (f"'{key}' belongs under '{elsewhere[0]}'",)
    elif later := NOT_YET.get((key,)):
        notes = (later,)
    else:
        notes = hint(key, names)
    return Problem(span, f"unknown key '{key}'", (*notes, allowed(names)))


def _rewrite(kind: str, value: Tree) -> tuple[str, ...]:
    """How to write the value so that YAML reads it as what is wanted."""
    if kind == "tuple_type":
        return ("start each item with '- ' on a line of its own, or write [a, b]",)
    if not isinstance(value, Scalar):
        return ()
    if kind == "string_type" and len(value.text) <= 60:
        return (f'to have it as text, put it in quotes: "{value.text}"',)
    if kind == "int_type" and isinstance(value.value, str) and value.text.isdecimal():
        return (f"remove the quotes: {value.text}",)
    if kind == "bool_type" and value.text.lower() in ("true", "false"):
        return (f"remove the quotes: {value.text.lower()}",)
    return ()


def _unquote(value: Tree, choices: list[object]) -> tuple[str, ...]:
    if isinstance(value, Scalar) and isinstance(value.value, str) and value.text in map(str, choices):
        return (f"remove the quotes: {value.text}",)
    return ()


def _about(field: FieldInfo | None) -> tuple[str, ...]:
    if field is None or not field.description:
        return ()
    examples = f" For example {field.examples[0]}." if field.examples else ""
    return (field.description + examples,)


def _last_key(location: Location) -> str:
    return next((part for part in reversed(location) if isinstance(part, str) and part not in ("text", "mapping")), "")


def _walk(model: type[BaseModel], location: Location) -> tuple[FieldInfo | None, list[type[BaseModel]]]:
    """The field that a location names, and the models whose keys may stand below it."""
    field: FieldInfo | None = None
    levels = [model]
    for part in location:
        for level in levels:
            if isinstance(part, str) and (found := _names(level).get(part)):
                field, levels = found, list(_models_in(found.annotation))
                break
    return field, levels


def _names(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    seen: list[type[BaseModel]] = []
    for part in get_args(annotation):
        for found in _models_in(part):
            if found not in seen:
                seen.append(found)
                yield found


def _literals(annotation: Any) -> Iterator[object]:
    for part in get_args(annotation):
        if isinstance(part, str | int | bool):
            yield part
        elif part is not type(None):
            yield from _literals(part)


@cache
def _all_places(model: type[BaseModel]) -> tuple[tuple[str, str], ...]:
    return tuple(_places(model, ()))


def _places(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Every key of the format with the dotted path of the mapping that it stands in."""
    for name, field in _names(model).items():
        yield name, ".".join(path)
        for below in _models_in(field.annotation):
            yield from _places(below, (*path, name))
