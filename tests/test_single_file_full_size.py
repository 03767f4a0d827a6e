"""A file of Stable Diffusion XL in full size: every weight is that which diffusers' converter finds, in little memory."""

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.single_files import SDXL, sdxl

pytestmark = pytest.mark.slow

READER = """
import json, resource, sys
from pathlib import Path
import numpy as np
from sdbuild.modeling.checkpoint import Checkpoint
from sdbuild.sources.file import FileSource
from sdbuild.sources.header import header_of
from sdbuild.sources.single import read_contents
path = Path(sys.argv[1])
tensors = {key: (entry.dtype, entry.shape) for key, entry in header_of(path).items()}
sums = {}
for folder, component in read_contents("x", tensors, {}).components.items():
    checkpoint = Checkpoint([path], component.names)
    for name in checkpoint.names():
        weight = checkpoint.load(name)
        sums[f"{folder}/{name}"] = [list(weight.shape), int(weight.view(np.uint16).sum(dtype=np.uint64)),
                                    int(weight.view(np.uint16).flat[-1])]
print(json.dumps({"sums": sums, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Seeded bits that are finite numbers: 7 GB, written one tensor at a time."""
    shapes = sdxl(SDXL)
    header, offset = {}, 0
    for key, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        header[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path = tmp_path_factory.mktemp("xl") / "xl.safetensors"
    bits = np.random.Generator(np.random.SFC64(0))
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for shape in shapes.values():
            count = int(np.prod(shape))
            words = np.frombuffer(bits.bytes(2 * count), np.uint16) & np.uint16(
                0xBBFF
            )  # no infinities: an exponent's bit less
            file.write(words.tobytes())
    yield path
    path.unlink()


def test_every_weight_in_little_memory(path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    from tests.sources.test_layouts import contents, converted

    done = subprocess.run([sys.executable, "-c", READER, str(path)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["peak"] < 700 << 20  # the largest tensor, the vocabulary's, has 127 MB
    state, components = load_file(path), contents(sdxl(SDXL))
    count = 0
    for folder, component in components.items():
        for name, value in converted("sdxl", folder, state, component.config).items():
            if name.endswith("position_ids"):
                continue
            words = value.contiguous().view(torch.int16).numpy().view(np.uint16)
            shape, total, last = found["sums"].pop(f"{folder}/{name}")
            assert [side for side in shape if side != 1] == [side for side in value.shape if side != 1], name
            assert (total, last) == (int(words.sum(dtype=np.uint64)), int(words.flat[-1])), name
            count += 1
    assert list(found["sums"]) == ["text_encoder_2/text_projection.weight"]
    assert count == 1680 + 248 + 196 + 516
