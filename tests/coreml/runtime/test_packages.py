"""Packages that coremltools writes from torch models, and real ones, run as their originals do."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from sdbuild.coreml.runtime import load
from tests.coreml.runtime.support import IOS15, IOS16, IOS17, IOS18, ct

_PAIRS = Path(os.environ.get("SDBUILD_PAIRS", Path(__file__).parents[4] / "shared" / "coreml" / "pairs"))
needs_pairs = pytest.mark.skipif(not _PAIRS.is_dir(), reason="the pairs of packages and compiled models are not here")


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=2, dilation=2, groups=16, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.up = nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = F.silu(self.norm(self.depthwise(self.stem(x))))
        pooled = F.max_pool2d(x, 2) + F.avg_pool2d(x, 2)
        up = F.leaky_relu(self.up(x), 0.1)
        return pooled, self.shuffle(up), F.pad(up, (1, 2, 0, 1), mode="reflect")


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 32)
        self.norm = nn.LayerNorm(32)
        self.to_qkv = nn.Linear(32, 96)
        self.out = nn.Linear(32, 32)

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.table(ids.long())
        b, n, c = x.shape
        q, k, v = (part.reshape(b, n, 4, 8).transpose(1, 2) for part in self.to_qkv(self.norm(x)).chunk(3, -1))
        mask = torch.full((n, n), -1e4).triu(1)
        spelled = torch.softmax(q @ k.transpose(-1, -2) * 8**-0.5 + mask, -1) @ v
        x = x + self.out(spelled.transpose(1, 2).reshape(b, n, c))
        fast = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c)
        return F.gelu(x), fast, x[:, ids.long().argmax(-1)[0]]


class Norms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.group, self.instance, self.layer = nn.GroupNorm(4, 16), nn.InstanceNorm2d(16, affine=True), nn.LayerNorm(9)
        for parameter in self.parameters():
            nn.init.uniform_(parameter)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.group(x), self.instance(x), self.layer(x), F.normalize(x.flatten(1), dim=1)


class Shapes(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        mixed = torch.einsum("bchq,bkhc->bkhq", x, y.permute(0, 3, 2, 1))
        resized = F.interpolate(x, scale_factor=2.0, mode="nearest")
        smooth = F.interpolate(x, size=(7, 9), mode="bilinear", align_corners=False)
        picked = torch.gather(x, 3, (y > 0).long() * 3)
        joined = torch.cat([x[:, :, ::2], x[:, 1:3, 1::2].repeat(1, 2, 1, 1)], 1)
        return mixed, resized, smooth, picked, joined.flatten(1).cumsum(1), torch.where(x > 0, x, -x).sum((2, 3))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 6, bidirectional=True, batch_first=True)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        out, (h, c) = self.lstm(x)
        return out, h, c


torch.manual_seed(0)
CASES: dict[str, tuple[nn.Module, list[torch.Tensor]]] = {
    "convolutions": (Convolutions(), [torch.randn(2, 3, 12, 16)]),
    "attention": (Attention(), [torch.randint(0, 50, (1, 7)).int()]),
    "norms": (Norms(), [torch.randn(2, 16, 8, 9)]),
    "shapes": (Shapes(), [torch.randn(2, 4, 6, 5), torch.randn(2, 4, 6, 5)]),
    "recurrent": (Recurrent(), [torch.randn(2, 5, 8)]),
}


for _model, _ in CASES.values():
    _model.eval()


def converted(name: str, path: Path, target: Any, precision: Any) -> Path:
    model, examples = CASES[name]
    traced = torch.jit.trace(model, tuple(examples))
    dtypes = [np.int32 if example.dtype == torch.int32 else np.float32 for example in examples]
    package = ct.convert(
        traced,
        inputs=[
            ct.TensorType(f"in{i}", tuple(example.shape), dtype)
            for i, (example, dtype) in enumerate(zip(examples, dtypes, strict=True))
        ],
        minimum_deployment_target=target,
        compute_precision=precision,
        skip_model_load=True,
    )
    package.save(str(path / f"{name}.mlpackage"))
    return path / f"{name}.mlpackage"


@pytest.mark.parametrize("target", [IOS15, IOS17, IOS18], ids=["ios15", "ios17", "ios18"])
@pytest.mark.parametrize("name", CASES)
def test_float32_packages_equal_torch(name: str, target: Any, tmp_path: Path) -> None:
    model, examples = CASES[name]
    run = load(converted(name, tmp_path, target, ct.precision.FLOAT32))
    results = run.predict({f"in{i}": example.numpy() for i, example in enumerate(examples)})
    with torch.no_grad():
        expected = model(*examples)
    for actual, wanted in zip(results.values(), expected, strict=True):
        np.testing.assert_allclose(actual, wanted.numpy(), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", CASES)
def test_float16_packages_are_near_torch(name: str, tmp_path: Path) -> None:
    model, examples = CASES[name]
    path = converted(name, tmp_path, IOS16, ct.precision.FLOAT16)
    with torch.no_grad():
        expected = model(*examples)
    for precision in ("float32", "float16"):
        run = load(path, precision=precision)  # type: ignore[arg-type]
        results = run.predict({f"in{i}": example.numpy() for i, example in enumerate(examples)})
        for actual, wanted in zip(results.values(), expected, strict=True):
            scale = float(wanted.abs().max())
            np.testing.assert_allclose(actual.astype(np.float32), wanted.numpy(), rtol=0, atol=6e-3 * scale)


def feed(model: Any) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return {
        name: (0.1 * rng.standard_normal([5 if size is None else size for size in kind.shape])).astype(np.float32)
        for name, kind in model.inputs.items()
    }


@needs_pairs
@pytest.mark.parametrize("folder", sorted((_PAIRS / "mobius-silero").glob("*")), ids=lambda path: path.name)
def test_a_compiled_model_computes_what_its_package_does(folder: Path) -> None:
    package, compiled = (load(next(folder.glob(f"*.{kind}"))) for kind in ("mlpackage", "mlmodelc"))
    inputs = feed(package)
    one, other = package.predict(inputs), compiled.predict(inputs)
    assert list(one) == list(other) and one
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


@needs_pairs
def test_compressed_variants_are_near_the_float_model() -> None:
    def speech(folder: str) -> float:
        model = load(next((_PAIRS / "mobius-silero" / folder).glob("*.mlpackage")))
        return float(model.predict(feed(model))["vad_output"].item())

    exact = speech("silero-vad-unified-v6.0.0")
    for folder, tolerance in {
        "unified_palette_8bit": 0.005,
        "unified_int8": 0.005,
        "unified_mixed": 0.005,
        "unified_pruned_int8": 0.01,
        "unified_palette_6bit": 0.01,
        "unified_palette_4bit": 0.05,
        "unified_palette_2bit": 0.5,
    }.items():
        assert speech(folder) == pytest.approx(exact, abs=tolerance)


@needs_pairs
@pytest.mark.parametrize("path", sorted(_PAIRS.glob("fluid*/*/*.mlmodelc")), ids=lambda path: path.name[:-9])
def test_compiled_models_without_a_package_run(path: Path) -> None:
    model = load(path)
    inputs = feed(model)
    results = model.predict(inputs)
    (x,) = inputs.values()
    if path.stem == "TransposeEncoder":
        np.testing.assert_array_equal(next(iter(results.values())), x.transpose(0, 2, 1))
    elif path.stem == "Argmax":
        assert next(iter(results.values())).item() == x.argmax()
    else:
        token = next(value for name, value in results.items() if name in ("token_id", "var_17"))
        assert token.item() == x[:1025].argmax()
