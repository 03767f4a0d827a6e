"""Where recipes and families lie, and how their text is read."""

from __future__ import annotations

import errno
import re
import stat
from pathlib import Path

from sdbuild.extensions import data, folders
from sdbuild.recipe.problems import Problem, RecipeError, Span, display, report, suggestion
from sdbuild.standins import ENOUGH, stand_in

DEFAULT_RECIPE = "shapes"
_SUFFIXES = (".yaml", ".yml")
_MAX_BYTES = 256 * 1024  # a recipe is some hundred bytes; this is a wrong file
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # what YAML 1.1 takes for one
_UNREADABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def configs_folder() -> Path:
    """The recipes that come with sdbuild: `configs/` of a checkout, or the copy inside an installed wheel."""
    return data("configs")


def pipelines_folder() -> Path:
    """The model families that come with sdbuild: `pipelines/` of a checkout, or the copy inside an installed wheel."""
    return data("pipelines")


def family_files() -> dict[str, Path]:
    """The file of each model family, by name: those that come with sdbuild first, then those of extensions."""
    found: dict[str, Path] = {}
    for folder in (pipelines_folder(), *map(Path, folders("pipelines")[1:])):
        for path in _files_in(folder):
            found.setdefault(path.stem, path)
    return found


def names_in(folder: Path) -> list[str]:
    """The names, without suffix, of the YAML files in a folder."""
    return [path.stem for path in _files_in(folder)]


def _files_in(folder: Path) -> list[Path]:
    try:
        return sorted((path for path in folder.iterdir() if path.suffix in _SUFFIXES), key=lambda path: path.stem)
    except OSError:
        return []


def find_recipe(text: str | None, cwd: Path) -> Path:
    """The recipe that `config=text` names, seen from `cwd`.

    A path from where the user stands comes first, then a file of `configs/`; the suffix may be left out. Without
    text it is the default, `configs/shapes.yaml`. Raises RecipeError, telling what there is.
    """
    given = text if text is not None else DEFAULT_RECIPE
    shipped = configs_folder()
    places = (cwd, shipped) if text is not None else (shipped,)
    try:
        for folder in places:
            for suffix in ("", *_SUFFIXES):
                path = folder / (given + suffix) if given else folder
                if path.is_file():
                    return path
        if given and (cwd / Path(given).expanduser()).is_file():
            return cwd / Path(given).expanduser()
        folder = cwd / given
        if folder.is_dir():
            found = names_in(folder)
            listing = f" Recipes in it: {', '.join(found)}." if found else ""
            raise RecipeError(f"config={given} is a folder, not a recipe.{listing}")
        if what := next(
            filter(None, (_instead_of_a_file(cwd / (given + suffix)) for suffix in ("", *_SUFFIXES))), None
        ):
            raise RecipeError(f"config={given} is {what}, and a recipe is a regular file")
    except (OSError, ValueError, RuntimeError) as error:  # a name too long, a NUL in it, ~ of nobody
        shown = given if len(given) <= 80 else f"{given[:79]}…"
        why = getattr(error, "strerror", None) or str(error)
        raise RecipeError(f"config={shown!r} can't be looked up: {why}") from None
    here = names_in((cwd / given).parent) if "/" in given else names_in(cwd)
    known = sorted({*here, *names_in(shipped)})
    stem = Path(given).stem if Path(given).suffix in _SUFFIXES else Path(given).name
    hint = "".join(f" {note[0].upper()}{note[1:]}" for note in suggestion(stem, known))
    looked = dict.fromkeys(display(folder / given) for folder in (cwd, shipped))
    raise RecipeError(
        f"No recipe '{given}': looked for {' and for '.join(looked)}.{hint}\n"
        f"Recipes that come with sdbuild: {', '.join(names_in(shipped))}"
    )


_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def _instead_of_a_file(path: Path) -> str | None:
    """What there is that is no file; None for nothing. Raises OSError where that can't be known."""
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return "a link to what is not there" if path.is_symlink() else None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "a link that leads back to itself"
        raise
    return _KINDS.get(kind, "a device")


def read_text(path: Path) -> str:
    """The text of a YAML file. Raises RecipeError for a missing, unreadable, overlong or wrongly encoded one."""
    name = display(path)
    try:
        if path.is_dir():
            raise RecipeError(f"{name} is a folder, not a YAML file")
        if path.exists() and not path.is_file():
            raise RecipeError(f"{name} is not a regular file")
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        beside = names_in(path.parent)
        notes = (*suggestion(path.stem, beside), f"there is: {', '.join(beside)}") if beside else ()
        hint = "".join(f"\n  = {note}" for note in notes)
        raise RecipeError(f"{name}: no such file{hint}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RecipeError(f"{name} can't be read: {reason}") from None
    if len(data) > _MAX_BYTES:
        raise RecipeError(f"{name} is larger than {_MAX_BYTES // 1024} KB: not a recipe or a family")
    if data and (wrong := stand_in(data[:ENOUGH])):
        raise RecipeError(f"{name} {wrong}")
    return _decode(data, name)


def split_lines(text: str) -> list[str]:
    """The lines of a YAML text, counted as the parser counts them."""
    return _LINE_BREAK.split(text)


def _decode(data: bytes, name: str) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise RecipeError(f"{name} is UTF-16: save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = split_lines(data[: error.start].decode("utf-8-sig", "replace"))
        shown = split_lines(data.decode("utf-8-sig", "replace"))
        span = Span(len(before) - 1, len(before[-1]), 1)
        bad = f"the byte 0x{data[error.start]:02x} is not UTF-8"
        raise report([Problem(span, bad, ("save the file as UTF-8",))], name, shown) from None
    if match := _UNREADABLE.search(text):
        before = split_lines(text[: match.start()])
        span = Span(len(before) - 1, len(before[-1]), 1)
        said = f"the control character U+{ord(match[0]):04X} can't stand in YAML"
        raise report([Problem(span, said, ("remove it",))], name, split_lines(text))
    return text
