"""Author, license and version of a model, as its card has them."""

import re
from pathlib import Path
from typing import Any

import pytest

from sdbuild.sources.card import read_card
from sdbuild.sources.client import HubClient
from sdbuild.sources.hub import HubSource
from sdbuild.sources.local import LocalSource
from tests.sources.hub_server import HubServer
from tests.sources.make_models import sd1, write
from tests.sources.test_contents import PAGE, POINTER

OPENRAIL = "---\nlicense: creativeml-openrail-m\nauthor: Someone\ntags: [a, b]\n---\n# A model\n"


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        (OPENRAIL, {"license": "creativeml-openrail-m", "author": "Someone"}),
        (OPENRAIL.replace("\n", "\r\n"), {"license": "creativeml-openrail-m", "author": "Someone"}),
        ("---\nversion: 1.5\nauthors:\n- One\n- Two\n---\n", {"version": "1.5", "author": "One, Two"}),
        (
            "---\nlicense: other\nlicense_name: their-own\nlicense_link: https://example.org/license\n---\n",
            {"license": "their-own (https://example.org/license)"},
        ),
        ("---\nlicense: other\nlicense_link: LICENSE.md\n---\n", {"license": "other"}),
        ("# No metadata\n---\nlicense: mit\n---\n", {}),
        ("---\n- a list\n---\n", {}),
        ("---\nlicense: {a: b}\nauthor: null\n---\n", {}),
        ("---\nlicense: yes\nauthor: [true, Jo]\n---\n", {"author": "Jo"}),
        ('---\nlicense: "a\\eb"\n---\n', {}),
        (f"---\nlicense: {'x' * 300}\n---\n", {"license": f"{'x' * 199}…"}),
        ("", {}),
    ],
)
def test_a_folder_has_what_its_card_says_and_nothing_of_its_name(
    card: str, expected: dict[str, str], tmp_path: Path
) -> None:
    source = LocalSource(
        write(sd1() | {"README.md": card.encode()}, tmp_path / "my-secret-project"), "./my-secret-project"
    )
    assert read_card(source, pytest.fail) == expected


MERGED = (
    "".join(f"a{i}: &a{i} {{{', '.join(f'b{i * 40 + j}: c' for j in range(40))}}}\n" for i in range(30))
    + f"all: {{<<: [{', '.join(f'*a{i}' for i in range(30))}]}}\n"
)


@pytest.mark.parametrize(
    "metadata",
    ["a: [", "a: " + "[" * 5000, "a: b\n" * 10_000, MERGED, "a: !!bool x", "a: !!int ''", "a: !!timestamp x"],
)
def test_a_card_that_cant_be_read_is_told_and_stops_nothing(metadata: str, tmp_path: Path) -> None:
    source = LocalSource(write({"README.md": f"---\n{metadata}\n---\n".encode()}, tmp_path), "./model")
    warnings: list[str] = []
    assert read_card(source, warnings.append) == {}
    assert warnings == [
        "./model: the lines between --- in README.md can't be read as YAML, so the models carry no license and author of it; "
        "mend them, or write license and author under `model:`"
    ]


@pytest.mark.parametrize(
    ("card", "told"),
    [
        (POINTER, "is a pointer of Git LFS, .*: run `git lfs pull`"),
        (PAGE, "is a web page, .*: download the file itself"),
    ],
)
def test_something_else_in_the_place_of_a_card(card: bytes, told: str, tmp_path: Path) -> None:
    warnings: list[str] = []
    assert read_card(LocalSource(write({"README.md": card}, tmp_path), "./model"), warnings.append) == {}
    (warning,) = warnings
    assert re.match(rf"\./model: README\.md {told}.*; without it the models carry no license and author", warning)


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("# A model\n", {"author": "See the model card of someone/small", "version": "someone/small"}),
        (OPENRAIL, {"license": "creativeml-openrail-m", "author": "Someone", "version": "someone/small"}),
    ],
)
def test_a_model_of_the_hub_is_known_by_its_id(
    card: str, expected: dict[str, Any], hub: HubServer, client: HubClient
) -> None:
    hub.add("someone/small", sd1() | {"README.md": card.encode()})
    assert read_card(HubSource("someone/small", None, client), pytest.fail) == expected
