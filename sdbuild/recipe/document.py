"""YAML with positions kept: a tree in which every key and value knows where it was written.

Built from the parser's events, not with PyYAML's composer and constructor: those recurse without a limit (deep nesting
kills the process in libyaml's binding), forget where a key stood, accept duplicate keys, and turn `010` into 8.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from sdbuild.bounded_yaml import MAX_DEPTH, TOO_DEEP, BoundedLoader
from sdbuild.recipe.problems import Problem, Span
from sdbuild.recipe.syntax import syntax_problem

_LOADER = getattr(yaml, "CSafeLoader", BoundedLoader)  # libyaml's, where PyYAML was built with it
_RESOLVER: Any = yaml.SafeLoader("")  # which plain scalar is a number, a boolean, nothing or text, by YAML 1.1
_TAG = "tag:yaml.org,2002:"
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_MANY_DIGITS = re.compile(r"[-+]?[1-9][0-9]{18,}")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_MOST_PROBLEMS = 1_000  # that are collected
_MAX_VALUES = 20_000  # after aliases are followed, so that a few lines can't stand for millions of values

Location = tuple[str | int, ...]
Plain = str | int | float | bool | None | tuple["Plain", ...] | dict[str, "Plain"]


class Scalar(NamedTuple):
    """A single value; `text` is what the file says, without quotes. `broken`: already reported, say no more of it.

    `odd`: the message of one that YAML takes for a number, and that is none here; what is allowed instead is still to be said.
    """

    value: str | int | float | bool | None
    span: Span
    text: str = ""
    broken: bool = False
    size: int = 1
    odd: str = ""


class Sequence(NamedTuple):
    """A list."""

    items: tuple[Tree, ...]
    span: Span
    size: int = 1


class Entry(NamedTuple):
    """A key's place and its value."""

    key: Span
    value: Tree


class Mapping(NamedTuple):
    """Keys and values, in the order of the file."""

    entries: dict[str, Entry]
    span: Span
    size: int = 1


Tree = Scalar | Sequence | Mapping


def parse(text: str, file: str = "") -> tuple[Tree | None, list[Problem]]:
    """Read one YAML document. Whatever is wrong becomes a problem; without a tree nothing more can be said.

    ``file``: what spans are to call the file, see `Span`.
    """
    builder = _Builder(text, file)
    try:
        tree = builder.document()
    except yaml.YAMLError as error:
        problem = syntax_problem(error, text)
        return None, [problem._replace(span=problem.span._replace(file=file))]
    except _TooMuchError as stop:
        return None, [Problem(stop.span, stop.message)]
    return tree, builder.problems


def plain(tree: Tree) -> Plain:
    """The tree as Python data: lists become tuples, mappings dicts."""
    if isinstance(tree, Mapping):
        return {key: plain(entry.value) for key, entry in tree.entries.items()}
    if isinstance(tree, Sequence):
        return tuple(plain(item) for item in tree.items)
    return tree.value


def is_null(tree: Tree) -> bool:
    """A null that was written as one, or a key with nothing after it."""
    return isinstance(tree, Scalar) and tree.value is None and not tree.broken


def merge(base: Mapping, patch: Mapping) -> Mapping:
    """`base` with `patch` laid over it: mappings merge key by key, anything else replaces, null removes the key.

    No null is left of one that had nothing to remove; whether its key can be is to be asked before, see `unknown_nulls`.
    """
    entries = dict(base.entries)
    for key, entry in patch.entries.items():
        below = entries.get(key)
        value = entry.value
        if is_null(value):
            entries.pop(key, None)
        elif isinstance(value, Mapping):
            under = below.value if below is not None and isinstance(below.value, Mapping) else Mapping({}, value.span)
            entries[key] = Entry(entry.key, merge(under, value))
        else:
            entries[key] = entry
    return Mapping(entries, base.span, base.size + patch.size)


def placed(tree: Mapping, span: Span) -> Mapping:
    """The mapping as if all of it stood at one place of another file, which it was taken over from."""

    def moved(each: Tree) -> Tree:
        if isinstance(each, Mapping):
            return placed(each, span)
        if isinstance(each, Sequence):
            return each._replace(items=tuple(map(moved, each.items)), span=span._replace(width=1))
        return each._replace(span=span)

    entries = {key: Entry(span, moved(entry.value)) for key, entry in tree.entries.items()}
    return Mapping(entries, span._replace(width=1), tree.size)


def find(tree: Mapping, path: Location) -> tuple[Span, Tree] | None:
    """The value at `path` with the span of its key (of itself, in a list); None when the file doesn't have it."""
    key = first_key(tree)
    here: Tree = tree
    for part in path:
        if isinstance(here, Mapping) and part in here.entries:
            entry = here.entries[str(part)]
            key, here = entry.key, entry.value
        elif isinstance(here, Sequence) and isinstance(part, int) and part < len(here.items):
            here = here.items[part]
            key = here.span
        else:
            return None
    return key, here


def nearest(tree: Mapping, path: Location) -> tuple[Span, Tree]:
    """Like `find`, passing over the parts that the file doesn't have: a missing key, or the tag of a union."""
    sound: Location = ()
    for part in path:
        if find(tree, (*sound, part)) is not None:
            sound = (*sound, part)
    found = find(tree, sound)
    assert found is not None
    return found


def first_key(tree: Mapping) -> Span:
    """The first key of a mapping: where a complaint about the whole of it points."""
    return next((entry.key for entry in tree.entries.values()), tree.span)


class _TooMuchError(Exception):
    """The document stands for more than a recipe can sensibly hold."""

    def __init__(self, span: Span, message: str) -> None:
        """Stop reading at `span`."""
        super().__init__(message)
        self.span, self.message = span, message


class _Builder:
    def __init__(self, text: str, file: str = "") -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.anchors: dict[str, Tree | None] = {}  # None while the anchored value is being read
        self.events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)

    def document(self) -> Tree | None:
        next(self.events)  # the stream's start
        start = next(self.events)
        if isinstance(start, yaml.StreamEndEvent):
            return None
        tree = self._node(next(self.events), 0)
        next(self.events)  # the document's end
        after = next(self.events)
        if not isinstance(after, yaml.StreamEndEvent):
            self._say(self._span(after), "a second document starts here: a file holds one")
        return tree

    def _span(self, event: Any) -> Span:
        start, end = event.start_mark, event.end_mark
        width = end.column - start.column if end.line == start.line else 1
        return Span(start.line, start.column, max(1, width), self.file)

    def _closed(self, start: Any, end: Any) -> Span:
        """The span of a collection: all of it when it stands on one line in brackets, else its first character."""
        first, last = start.start_mark, end.end_mark
        one_line = bool(start.flow_style) and first.line == last.line
        return Span(first.line, first.column, last.column - first.column if one_line else 1, self.file)

    def _say(self, span: Span, message: str, *notes: str) -> None:
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(Problem(span, message, notes))

    def _node(self, event: Any, depth: int) -> Tree:
        span = self._span(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, span)
        if depth > MAX_DEPTH:
            raise _TooMuchError(span, TOO_DEEP)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        tree: Tree
        if isinstance(event, yaml.ScalarEvent):
            tree = self._scalar(event, span)
        elif isinstance(event, yaml.SequenceStartEvent):
            tree = self._sequence(event, span, depth)
        else:
            tree = self._mapping(event, span, depth)
        if tree.size > _MAX_VALUES:
            raise _TooMuchError(span, f"with its aliases this stands for more than {_MAX_VALUES:,} values")
        if event.anchor is not None:
            self.anchors[event.anchor] = tree
        return tree

    def _alias(self, event: Any, span: Span) -> Tree:
        tree = self.anchors.get(event.anchor)
        if tree is not None:
            return tree
        if event.anchor in self.anchors:
            self._say(span, f"'*{event.anchor}' stands inside the value that it names")
        else:
            self._say(span, f"no anchor '&{event.anchor}' comes before '*{event.anchor}'")
        return Scalar(None, span, f"*{event.anchor}", broken=True)

    def _sequence(self, event: yaml.SequenceStartEvent, span: Span, depth: int) -> Sequence:
        items: list[Tree] = []
        for inner in self.events:
            if isinstance(inner, yaml.SequenceEndEvent):
                span = self._closed(event, inner)
                break
            items.append(self._node(inner, depth + 1))
        self._standard(event.tag, "seq", span)
        return Sequence(tuple(items), span, 1 + sum(item.size for item in items))

    def _mapping(self, event: yaml.MappingStartEvent, span: Span, depth: int) -> Mapping:
        own: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for inner in self.events:
            if isinstance(inner, yaml.MappingEndEvent):
                span = self._closed(event, inner)
                break
            is_merge = isinstance(inner, yaml.ScalarEvent) and inner.value == "<<" and inner.implicit[0]
            key = self._node(inner, depth + 1)
            value = self._node(next(self.events), depth + 1)
            if is_merge:
                self._merge_key(value, merged)
            elif isinstance(key, Scalar) and isinstance(key.value, str):
                if key.value in own:
                    first = own[key.value].key.line + 1
                    self._say(key.span, f"the key '{key.value}' is here a second time; it is also on line {first}")
                else:
                    own[key.value] = Entry(key.span, value)
            elif not (isinstance(key, Scalar) and key.broken):
                self._say(key.span, f"a key must be text, not {describe(key)}", *_quote(key))
        self._standard(event.tag, "map", span)
        entries = {**merged, **own}
        return Mapping(entries, span, 1 + sum(entry.value.size for entry in entries.values()))

    def _merge_key(self, value: Tree, merged: dict[str, Entry]) -> None:
        sources = value.items if isinstance(value, Sequence) else (value,)
        for source in sources:
            if isinstance(source, Mapping):
                for key, entry in source.entries.items():
                    merged.setdefault(key, entry)  # of several, the first wins: YAML's rule for merge keys
            elif not (isinstance(source, Scalar) and source.broken):
                self._say(source.span, f"'<<' merges mappings, not {describe(source)}")

    def _standard(self, tag: str | None, kind: str, span: Span) -> bool:
        if tag in (None, "!", _TAG + kind):
            return True
        self._say(span, f"the tag {str(tag).replace(_TAG, '!!')} has no meaning here; remove it")
        return False

    def _scalar(self, event: yaml.ScalarEvent, span: Span) -> Scalar:
        text = event.value
        tag = event.tag if event.tag not in (None, "!") else _RESOLVER.resolve(yaml.ScalarNode, text, event.implicit)
        kind = tag.removeprefix(_TAG)
        value: str | int | float | bool | None = text
        if kind == "null":
            value = None
        elif kind == "bool" and text.lower() in yaml.constructor.SafeConstructor.bool_values:
            value = yaml.constructor.SafeConstructor.bool_values[text.lower()]
        elif kind == "int" and _DECIMAL.fullmatch(text):
            value = int(text)
        elif kind == "float" and _FLOAT.fullmatch(text) and math.isfinite(float(text)):
            value = float(text)
        elif kind in ("bool", "int", "float"):
            odd = _odd(kind, text)
            self._say(span, odd, f'if it is text, put it in quotes: "{text[:40]}"')
            return Scalar(text, span, text, broken=True, odd=odd)
        elif kind not in ("str", "timestamp", "merge", "value") and not self._standard(tag, "str", span):
            return Scalar(text, span, text, broken=True)
        return Scalar(value, span, text)


def _odd(kind: str, text: str) -> str:
    """Why what YAML takes for a number, or for true or false by its tag, is none here."""
    shown = text if len(text) <= 40 else f"{text[:37]}..."
    if _MANY_DIGITS.fullmatch(text):
        return f"'{shown}' has too many digits: a number has 18 at most"
    if kind == "float" and _FLOAT.fullmatch(text):
        return f"'{shown}' is too large a number"
    return f"'{shown}' is not a plain decimal number" if kind != "bool" else f"'{shown}' is neither true nor false"


def describe(tree: Tree) -> str:
    """A value in words: "the number 1.5", "a list"."""
    if isinstance(tree, Mapping):
        return "a mapping"
    if isinstance(tree, Sequence):
        return "a list"
    shown = tree.text if len(tree.text) <= 40 else tree.text[:37] + "..."
    if tree.value is None:
        return "nothing"
    if isinstance(tree.value, bool):
        read = str(tree.value).lower()
        return read if shown == read else f"{shown}, which YAML reads as {read}"
    if isinstance(tree.value, int | float):
        return f"the number {shown}"
    return f"the text '{shown}'"


def _quote(tree: Tree) -> tuple[str, ...]:
    if isinstance(tree, Scalar) and tree.value is not None:
        return (f'to have it as text, put it in quotes: "{tree.text[:40]}"',)
    return ()
