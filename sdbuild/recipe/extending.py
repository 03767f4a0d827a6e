"""``extends:``: a recipe laid over another one, which may lie over a third."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sdbuild.recipe.document import Entry, Mapping, Scalar, describe, is_null, merge, parse
from sdbuild.recipe.files import configs_folder, find_recipe, names_in, read_text, split_lines
from sdbuild.recipe.problems import Problem, RecipeError, display
from sdbuild.recipe.validation import top_level
from sdbuild.recipe.variants import without_empty

KEY = "extends"
_MOST = 8  # files, one over the other


@dataclass
class Layers:
    """A recipe file with those that it extends."""

    top: Mapping
    """What they come to: in each value's span is the file that it was written in."""
    problems: list[Problem]
    unread: set[str]
    """Top-level keys under which something could not be read."""
    files: list[Mapping]
    """What each file holds, the recipe's own first."""
    bases: dict[str, Path] = field(default_factory=dict)
    """The files that are extended, by what spans call them, the nearest first."""
    lines: dict[str, Sequence[str]] = field(default_factory=dict)
    """The lines of each."""
    complete: bool = True
    """All of them were found: if not, nothing can be said of what they might hold."""

    def folder(self, file: str, path: Path) -> Path:
        """Where paths in a file of these start, ``path`` being the recipe's own."""
        return (self.bases[file] if file else path).parent


def layers(top: Mapping, path: Path, problems: list[Problem]) -> Layers:
    """The recipe file that holds ``top``, with all that it extends. Raises RecipeError for a file that can't be read."""
    found = Layers(top, problems, _keys_with(top, problems), [top])
    stack, where = [top], path
    while (entry := stack[-1].entries.get(KEY)) and not is_null(entry.value):
        base = _base(entry, where, [path, *found.bases.values()], found.problems)
        mapping = _read(base, found) if base is not None else None
        if base is None or mapping is None:
            found.complete = False
            return found
        stack.append(mapping)
        found.files.append(mapping)
        where = base
    if len(stack) > 1:
        found.top = _laid(stack, found.problems)
    return found


def _read(path: Path, found: Layers) -> Mapping | None:
    name, text = display(path), read_text(path)
    tree, problems = parse(text, name)
    mapping = top_level(tree, problems, name)
    found.bases[name], found.lines[name] = path, split_lines(text)
    found.problems += problems
    if mapping is not None:
        found.unread |= _keys_with(mapping, problems)
    return mapping


def _laid(stack: Sequence[Mapping], problems: list[Problem]) -> Mapping:
    """The last of the files with those before it laid over it. A name is a recipe's own: two would share a folder."""
    own = stack[0]
    merged = Mapping({}, own.span)
    for each in reversed(stack):
        entries = {key: entry for key, entry in each.entries.items() if key != KEY and (key != "name" or each is own)}
        merged = merge(merged, without_empty(Mapping(entries, each.span), problems))
    entries = {key: merged.entries[key] for key in own.entries if key in merged.entries} | merged.entries
    if "name" not in own.entries:
        place = own.entries[KEY]
        problems.append(Problem(place.key, "'name' is missing", ("a recipe that extends another has its own name",)))
        entries["name"] = Entry(place.key, Scalar(None, place.key, broken=True))
    return Mapping(entries, merged.span, merged.size)


def _base(entry: Entry, where: Path, before: Sequence[Path], problems: list[Problem]) -> Path | None:
    """The file that an entry names in the file ``where``; None where a problem tells why there is none."""
    value = entry.value
    if not isinstance(value, Scalar) or not isinstance(value.value, str) or value.broken:
        if not (isinstance(value, Scalar) and value.broken):
            what = f"expected the path or the name of a recipe, found {describe(value)}"
            problems.append(Problem(value.span, what))
        return None
    try:
        path = _other(find_recipe(value.value, where.parent), where)
    except RecipeError as error:
        notes = str(error).replace("config=", "").split("\n")
        problems.append(Problem(value.span, f"there is no recipe '{value.value[:80]}' to extend", tuple(notes)))
        return None
    chain = [*before, path]
    if path.resolve() in [each.resolve() for each in before]:
        around = " → ".join(display(each) for each in chain)
        problems.append(Problem(value.span, "a recipe can't extend itself", (around,)))
        return None
    if len(chain) > _MOST:
        problems.append(Problem(value.span, f"more than {_MOST} recipes extend each other", ()))
        return None
    return path


def _other(found: Path, where: Path) -> Path:
    """For a recipe that is called as the one that comes with sdbuild and extends it: that one, not the recipe itself."""
    shipped = configs_folder()
    itself = found.resolve() == where.resolve() and where.parent.resolve() != shipped.resolve()
    return find_recipe(where.stem, shipped) if itself and where.stem in names_in(shipped) else found


def _keys_with(top: Mapping, problems: Sequence[Problem]) -> set[str]:
    """The top-level keys that these problems of one file lie under: what rules would say of their values is moot."""
    starts = [(entry.key, key) for key, entry in top.entries.items()]
    return {max(before)[1] for p in problems if (before := [start for start in starts if start[0] <= p.span])}
