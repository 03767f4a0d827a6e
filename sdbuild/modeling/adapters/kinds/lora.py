"""LoRA: the product of two thin matrices (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021).

Of a convolution, ``down`` has the kernel and ``up`` is 1×1; or both are 1×1 with a small convolution between, ``mid`` (LoCon's
form of a CP decomposition).
"""

from collections.abc import Mapping
from math import prod

from sdbuild.arrays import Array
from sdbuild.modeling.adapters.kinds import Rows, Shape, alike, expect

FORMS = (frozenset({"lora_up", "lora_down"}),)
MAY = frozenset({"lora_mid"})
PARAMETER = "weight"
SCALED = True


def rank(shapes: Mapping[str, Shape], weight: Shape) -> int:
    """That of ``down``: up [out, rank], down [rank, in, …]."""
    up, down, mid = shapes["lora_up"], shapes["lora_down"], shapes.get("lora_mid")
    inner, outer = down[0], up[1] if len(up) > 1 else 0
    expect(up[0] == weight[0] and prod(up) == up[0] * outer, f"up {list(up)}, down {list(down)}")
    if mid is None:
        fits = alike(down[1:], weight[1:]) or down[1:] == (prod(weight[1:]),)
        expect(outer == inner and fits, f"up {list(up)}, down {list(down)}")
    else:
        fits = mid[:2] == (outer, inner) and prod(down) == inner * weight[1] and mid[2:] == weight[2:]
        expect(fits, f"up {list(up)}, mid {list(mid)}, down {list(down)}")
    return inner


def rows(tensors: Mapping[str, Array], weight: Shape) -> Rows:
    """Up · (mid ·) down."""
    up, down = tensors["lora_up"].reshape(weight[0], -1), tensors["lora_down"]
    down = down.reshape(len(down), -1)
    if "lora_mid" in tensors:
        mid = tensors["lora_mid"].reshape(*tensors["lora_mid"].shape[:2], -1)
        down = (down.T @ mid.transpose(0, 2, 1).reshape(-1, len(down)).T).reshape(len(down.T), len(mid), -1)
        down = down.transpose(1, 0, 2).reshape(len(mid), -1)
    return lambda start, end: up[start:end] @ down
