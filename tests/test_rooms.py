"""The contract of rooms: it finds what the table does not allow."""

from grimp import ImportGraph

from tests.rooms import offences, read_rooms

TABLE = """
| room | what lives there | may import |
|---|---|---|
| `configs/` | recipes to copy | – |
| `sdbuild/low/` | numbers | – |
| `sdbuild/high/` | uses `low/` | low, single |
| `sdbuild/single.py` | one file | – |
| `sdbuild/top/` | wires the rest | all |
"""
MODULES = ("top", "top.a", "high", "high.a", "low", "low.a", "single", "errors")


def graph(*imports: tuple[str, str], without: str = "") -> ImportGraph:
    made = ImportGraph()
    made.add_module("sdbuild")
    for name in MODULES:
        if not (without and name.startswith(without)):
            made.add_module(f"sdbuild.{name}")
    for importer, imported in imports:
        made.add_import(importer=f"sdbuild.{importer}", imported=f"sdbuild.{imported}")
    return made


def found(*imports: tuple[str, str], without: str = "") -> dict[str, list[str]]:
    return offences(graph(*imports, without=without), "sdbuild", read_rooms(TABLE))


def test_what_the_table_allows_is_kept() -> None:
    assert read_rooms(TABLE) == {"low": set(), "high": {"low", "single"}, "single": set(), "top": None}
    fine = [("high.a", "low.a"), ("high.a", "high"), ("low.a", "errors"), ("top.a", "high"), ("top.a", "low.a")]
    assert not found(*fine, ("high", "single"))


def test_every_other_import_is_found_with_its_modules() -> None:
    wrong = [("low.a", "high.a"), ("low.a", "single"), ("single", "low"), ("errors", "low.a"), ("high", "top.a")]
    assert found(*wrong) == {
        "low may not import high": ["sdbuild.low.a -> sdbuild.high.a"],
        "low may not import single": ["sdbuild.low.a -> sdbuild.single"],
        "single may not import low": ["sdbuild.single -> sdbuild.low"],
        "errors may not import low": ["sdbuild.errors -> sdbuild.low.a"],
        "high may not import top": ["sdbuild.high -> sdbuild.top.a"],
    }


def test_rooms_and_rows_belong_together() -> None:
    assert list(found(without="single")) == ["single is in the table alone"]
    rooms = read_rooms(TABLE)
    del rooms["low"]
    assert list(offences(graph(), "sdbuild", rooms)) == ["low is not in the table"]
