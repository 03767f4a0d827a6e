"""The keys of the operation histogram, against what was collected from real files."""

import csv
from pathlib import Path

import pytest

from sdbuild.coreml.compiler.operations import _revisions, histogram_key

SHARED = Path(__file__).resolve().parents[4] / "shared/coreml"


def rows(name: str) -> list[dict[str, str]]:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is absent")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_has_the_predicted_keys_and_no_others() -> None:
    predicted = {(row["mil_op"], row["opset"]): row["key"] for row in rows("predicted.csv")}
    assert {pair: histogram_key(*pair) for pair in _revisions()} == predicted


def test_the_table_has_every_key_observed() -> None:
    observed = [row for row in rows("histogram.csv") if row["opset"] != "ios19"]
    assert len(observed) > 200
    for row in observed:
        assert histogram_key(row["mil_op"], row["opset"]) == row["key"]


@pytest.mark.parametrize(
    ("operation", "opset", "key"),
    [
        ("conv", "ios15", "Conv"),
        ("conv", "ios18", "Ios18.conv"),
        ("layer_norm", "ios16", "Ios16.layerNorm"),
        ("softmax", "ios17", "Ios16.softmax"),
        ("einsum", "ios18", "Ios16.einsum"),
        ("range_1d", "ios18", "Range1d"),
        ("reduce_l2_norm", "ios17", "Ios16.reduceL2Norm"),
        ("scaled_dot_product_attention", "ios18", "Ios18.scaledDotProductAttention"),
        ("scaled_dot_product_attention", "ios17", None),
        ("custom_layer", "ios18", None),
    ],
)
def test_keys(operation: str, opset: str, key: str | None) -> None:
    assert histogram_key(operation, opset) == key
