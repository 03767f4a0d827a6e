"""How an operation is called in ``mlProgramOperationTypeHistogram``: ``Ios16.einsum``, ``Conv``.

The prefix is the opset in which Apple last revised the operation, at or below the program's own; ios15 has none. The
table ``operations.csv`` has that revision for each opset, a line for each family of operations. ``basis`` says how well
it is known: ``observed`` in output of Apple's compiler at one opset at least, else extrapolated from the family with
high, medium or low confidence. It is not what coremltools registers: of 215 keys seen, 96 agree with that.
"""

import csv
from functools import cache
from pathlib import Path

from sdbuild.opset import Opset


@cache
def _revisions() -> dict[tuple[str, str], str]:
    with Path(__file__).with_name("operations.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        (operation, opset.system): row[opset.system]
        for row in rows
        for operation in row["operations"].split()
        for opset in Opset
        if row[opset.system]
    }


@cache
def histogram_key(operation: str, opset: str) -> str | None:
    """The key that counts ``operation`` ("layer_norm") in a program for ``opset`` ("ios17"); None where none is known."""
    revision = _revisions().get((operation, opset))
    if revision is None:
        return None
    first, *rest = operation.split("_")
    tail = "".join(part.capitalize() for part in rest)
    return first.capitalize() + tail if revision == "15" else f"Ios{revision}.{first}{tail}"
