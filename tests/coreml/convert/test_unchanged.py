"""Programs and weight files are what they were: operation for operation, value for value, in their order, byte for byte.

``programs.json`` has the digests. What is meant to change writes it again: ``python -m tests.coreml.convert.test_unchanged``.
Weights are made from their names, so that neither torch nor a library has a part in them.
"""

import hashlib
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdbuild.coreml.convert import Metadata, Port, convert
from sdbuild.coreml.package import read_package
from sdbuild.graphs import read_graph
from sdbuild.opset import Opset
from tests import once
from tests.architectures import CHECKER, TEXT, TEXT_XL, UNET, UNET_2, UNET_XL, VAE, Shape
from tests.coreml.convert.canonical import digests
from tests.coreml.convert.test_convert import INPUTS, OUTPUTS

DIGESTS = Path(__file__).with_name("programs.json")
SHAPES = Path(__file__).parents[3] / "sdbuild" / "shapes" / "model"
LARGE = Shape(height=256, width=192, batch=2)  # 768 queries: split_einsum_v2 chunks them
SMALL = Shape(height=64, width=128)
VARIANTS = ("original", "split_einsum", "split_einsum_v2")
UNETS = {
    "unet": ("unet", UNET, LARGE),
    "unet-2": ("unet", UNET_2, LARGE),
    "unet-xl": ("unet_xl", UNET_XL, LARGE),
    "unet of one head": ("unet", UNET | {"attention_head_dim": 1}, LARGE),
    "unet of shapes": ("unet", json.loads((SHAPES / "unet" / "config.json").read_text()), Shape(64, 64, 2)),
}
OTHERS = {
    "text": ("clip_text", TEXT, SMALL),
    "text-xl": ("clip_text_pooled", TEXT_XL, SMALL),
    "checker": ("safety_checker", CHECKER, SMALL),
    "decoder": ("vae_decoder", VAE, SMALL),
    "encoder": ("vae_encoder", VAE | {"shift_factor": 0.1}, Shape(64, 128, vae_scale=0.2)),
}
CASES = [
    *((name, attention, Opset.IOS17, "float16") for name in UNETS for attention in VARIANTS),
    *(("unet", "split_einsum_v2", opset, "float16") for opset in Opset if opset != Opset.IOS17),
    ("unet", "original", Opset.IOS18, "float32"),
    *((name, "original", opset, "float16") for name in OTHERS for opset in (Opset.IOS16, Opset.IOS18)),
]


def weight(name: str, shape: tuple[int, ...]) -> Any:
    """Numbers from -1 to 1; those of a norm, or a bias, near 1."""
    data = hashlib.shake_256(name.encode()).digest(2 * math.prod(shape))
    numbers = (np.frombuffer(data, "<u2").astype(np.float32) - 32768) / np.float32(32768)
    return (numbers if len(shape) > 1 else 1 + numbers * np.float32(0.1)).reshape(shape)


def key(name: str, attention: str, opset: Opset, precision: str) -> str:
    return f"{name}, {attention}, {opset.name}, {precision}"


def made(name: str, attention: str, opset: Opset, precision: str, path: Path) -> dict[str, str]:
    kind, config, shape = (UNETS | OTHERS)[name]
    graph = read_graph(once.traced(kind, config, shape))
    dtype = "float32" if kind.startswith("clip") else precision
    convert(
        graph,
        lambda parameter: weight(parameter, graph.parameters[parameter]),
        path / "m.mlpackage",
        inputs=[Port(each, dtype) for each in INPUTS[kind]],
        outputs=[Port(each, "float32") for each in OUTPUTS[kind]],
        opset=opset,
        precision=precision,
        attention=attention,
        metadata=Metadata(),
    )
    return digests(read_package(path / "m.mlpackage"))


@pytest.mark.parametrize(("name", "attention", "opset", "precision"), CASES)
def test_unchanged(name: str, attention: str, opset: Opset, precision: str, tmp_path: Path) -> None:
    known = json.loads(DIGESTS.read_text(encoding="utf-8"))[key(name, attention, opset, precision)]
    assert made(name, attention, opset, precision, tmp_path) == known


def test_every_digest_is_of_a_case() -> None:
    known = json.loads(DIGESTS.read_text(encoding="utf-8"))
    assert list(known) == [key(*case) for case in CASES]
    programs: dict[str, set[str]] = {}
    for (
        name,
        digest,
    ) in known.items():  # up to 512 queries v2 has nothing to split, and its program is that of split_einsum
        programs.setdefault(digest["program"], set()).add(name.replace("split_einsum_v2", "split_einsum"))
    assert all(len(names) == 1 for names in programs.values())


def main() -> None:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        once.share(Path(folder))
        for number, case in enumerate(CASES):
            path = Path(folder) / str(number)
            path.mkdir()
            found[key(*case)] = made(*case, path)
    DIGESTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
