"""Resizing images: the last two dimensions, by nearest neighbour or linear interpolation."""

import torch
import torch.nn.functional as F  # noqa: N812

from sdbuild.coreml.runtime.ops.registry import Bound, Call, Tensor, op

SAMPLING_MODES = ("DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "OFFSET_CORNERS", "UNALIGN_CORNERS")


def _grid(mode: str, size: int, target: int) -> Tensor:
    """The points of an axis of ``size`` where ``target`` samples are taken: float64 [target]."""
    steps = torch.arange(target, dtype=torch.float64)
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        if target == 1:
            points = torch.zeros(1, dtype=torch.float64) + ((size - 1) / 2 if mode == "ALIGN_CORNERS" else 0.0)
        else:
            points = steps * ((size - 1) / (target - 1))
    elif mode == "DEFAULT":
        points = steps * (size / target)
    elif mode == "OFFSET_CORNERS":
        delta = max(1, size - 1) / target
        points = 0.5 * delta + steps * delta
    else:
        points = (steps + 0.5) * (size / target) - 0.5
    return points.clamp(0, size - 1)


def _linear_axis(x: Tensor, axis: int, mode: str, target: int) -> Tensor:
    size = int(x.shape[axis])
    if size == target and mode != "OFFSET_CORNERS":
        return x
    points = _grid(mode, size, target)
    low = points.floor().long()
    high = (low + 1).clamp(max=size - 1)
    shape = [1] * x.ndim
    shape[axis] = target
    weight = (points - low).to(x.device, x.dtype).reshape(shape)
    return torch.lerp(x.index_select(axis, low.to(x.device)), x.index_select(axis, high.to(x.device)), weight)


def linear(x: Tensor, sizes: tuple[int, int], mode: str) -> Tensor:
    """The last two dimensions resized to ``sizes`` by linear interpolation at the points of a sampling mode."""
    if x.ndim == 4 and mode == "UNALIGN_CORNERS":
        return F.interpolate(x, sizes, mode="bilinear", align_corners=False)
    if x.ndim == 4 and mode == "STRICT_ALIGN_CORNERS":
        return F.interpolate(x, sizes, mode="bilinear", align_corners=True)
    return _linear_axis(_linear_axis(x, x.ndim - 2, mode, sizes[0]), x.ndim - 1, mode, sizes[1])


def nearest(x: Tensor, sizes: tuple[int, int]) -> Tensor:
    """The last two dimensions resized to ``sizes`` by picking the nearest element."""
    if x.ndim == 4:
        return F.interpolate(x, sizes, mode="nearest")
    return F.interpolate(x.reshape(1, -1, *x.shape[-2:]), sizes, mode="nearest").reshape(*x.shape[:-2], *sizes)


def _scaled(call: Call) -> tuple[float, float]:
    return call.number("scale_factor_height", 1.0), call.number("scale_factor_width", 1.0)


def _sizes(x: Tensor, scales: tuple[float, float]) -> tuple[int, int]:
    return int(x.shape[-2] * scales[0]), int(x.shape[-1] * scales[1])


@op("upsample_nearest_neighbor")
def _upsample_nearest(call: Call) -> Bound:
    scales = _scaled(call)
    return call.bind(lambda x: nearest(x, _sizes(x, scales)), "x", moves=True)


@op("resize_nearest_neighbor")
def _resize_nearest(call: Call) -> Bound:
    sizes = call.integer("target_size_height"), call.integer("target_size_width")
    return call.bind(lambda x: nearest(x, sizes), "x", moves=True)


@op("upsample_bilinear")
def _upsample_bilinear(call: Call) -> Bound:
    scales, align = _scaled(call), call.truth("align_corners", True)
    mode = "STRICT_ALIGN_CORNERS" if align else "UNALIGN_CORNERS"
    if not align and not call.truth("half_pixel_centers", True):
        mode = "DEFAULT"
    return call.bind(lambda x: linear(x, _sizes(x, scales), mode), "x")


@op("resize_bilinear")
def _resize_bilinear(call: Call) -> Bound:
    sizes = call.integer("target_size_height", 1), call.integer("target_size_width", 1)
    mode = call.text("sampling_mode", "DEFAULT", choices=SAMPLING_MODES)
    return call.bind(lambda x: linear(x, sizes, mode), "x")


@op("resize")
def _resize(call: Call) -> Bound:
    shape, count = call.integers("shape"), call.integer("resized_dims")
    if count > 2:
        raise call.unsupported(f"resizing of {count} dimensions; the last two are supported")
    kind = call.text("interpolation_mode", "LINEAR", choices=("LINEAR", "NEAREST_NEIGHBOR"))
    mode = call.text("sampling_mode", "DEFAULT", choices=SAMPLING_MODES)
    if kind == "NEAREST_NEIGHBOR" and mode != "DEFAULT":
        raise call.unsupported(f"nearest neighbour with sampling_mode {mode}; DEFAULT is supported")
    wanted = [0, 0, *shape[len(shape) - count :]][-2:]

    def resize(x: Tensor) -> Tensor:
        sizes = wanted[0] or int(x.shape[-2]), wanted[1] or int(x.shape[-1])
        return linear(x, sizes, mode) if kind == "LINEAR" else nearest(x, sizes)

    return call.bind(resize, "x")


@op("crop")
def _crop(call: Call) -> Bound:
    (top, bottom), (left, right) = call.integers("crop_height"), call.integers("crop_width")
    return call.bind(lambda x: x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right], "x", moves=True)


@op("resample")
def _resample(call: Call) -> Bound:
    """Reflections are refused: torch's and Core ML's differ in which points they mirror at."""
    sampling = call.text("sampling_mode", choices=("bilinear", "nearest"))
    padding = {"constant": "zeros", "border": "border"}[call.text("padding_mode", choices=("constant", "border"))]
    kind = call.text(
        "coordinates_mode", choices=("unnormalized", "normalized_minus_one_to_one", "normalized_zero_to_one")
    )
    align = call.truth("align_corners") or kind == "unnormalized"
    value = call.number("padding_value") if padding == "zeros" else 0.0

    def resample(x: Tensor, coordinates: Tensor) -> Tensor:
        grid = coordinates.to(x.dtype)
        if kind == "unnormalized":
            grid = grid * (2 / (torch.tensor([x.shape[-1], x.shape[-2]], dtype=x.dtype, device=x.device) - 1)) - 1
        elif kind == "normalized_zero_to_one":
            grid = grid * 2 - 1
        return F.grid_sample(x - value if value else x, grid, sampling, padding, align) + value

    return call.bind(resample, "x", "coordinates")


@op("affine")
def _affine(call: Call) -> Bound:
    sizes = call.integer("output_height"), call.integer("output_width")
    call.text("sampling_mode", choices=("bilinear",))
    call.text("padding_mode", choices=("constant",))
    call.text("coordinates_mode", choices=("normalized_minus_one_to_one",))
    if call.number("padding_value") or not call.truth("align_corners"):
        raise call.unsupported("a padding_value other than 0, or align_corners = false")

    def affine(x: Tensor, matrix: Tensor) -> Tensor:
        theta = matrix.reshape(-1, 2, 3).expand(x.shape[0], 2, 3)
        grid = F.affine_grid(theta, [x.shape[0], x.shape[1], *sizes], align_corners=True)
        return F.grid_sample(x, grid, "bilinear", "zeros", align_corners=True)

    return call.bind(affine, "x", "transform_matrix")
