"""One or two single-threaded training processes that average their gradients.

Two OpenMP threads inside one process collapse as soon as anything else runs on the
machine, two processes of one thread each do not; hence data parallelism on one computer.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn


def _worker(rank: int, work: Callable[..., None], world: int, store: str, args: object) -> None:
    torch.set_num_threads(1)
    if rank > 0:
        os.nice(5)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    work(rank, world, args)
    if world > 1:
        dist.destroy_process_group()


def launch(work: Callable[..., None], world: int, args: object) -> None:
    """Runs `work(rank, world, args)` in `world` processes (in this one if it is 1)."""
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        if world == 1:
            _worker(0, work, 1, store, args)
            return
        # Fresh interpreters: a forked one would inherit torch's thread pool and may hang.
        context = multiprocessing.get_context("spawn")
        processes = [
            context.Process(target=_worker, args=(rank, work, world, store, args), daemon=True) for rank in range(world)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            raise RuntimeError("a training process failed; its error is printed above")


def average_gradients(parameters: Iterable[nn.Parameter], world: int) -> None:
    """Replaces every gradient by its mean over the processes, in one message."""
    if world == 1:
        return
    grads = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in grads])
    dist.all_reduce(flat)
    flat /= world
    offset = 0
    for grad in grads:
        grad.copy_(flat[offset : offset + grad.numel()].view_as(grad))
        offset += grad.numel()


def save_atomically(state: dict[str, object], path: Path) -> None:
    """Writes a checkpoint so that a killed process never leaves half a file."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def cosine_rate(step: int, steps: int, peak: float, warmup: int = 100) -> float:
    """Linear warm-up, then half a cosine from `peak` to nearly nothing at `steps`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    share = min(1.0, (step - warmup) / max(1, steps - warmup))
    return peak * (0.01 + 0.99 * 0.5 * (1 + float(torch.cos(torch.tensor(share * torch.pi)))))


class Average:
    """Exponential moving average of a model's floating-point parameters."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Starts at the model's present values."""
        self.decay = decay
        self.values: list[Tensor] = [p.detach().clone() for p in model.parameters()]
        self.count = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """One step; the decay grows from 0 so that the random start is forgotten soon."""
        self.count += 1
        decay = min(self.decay, self.count / (self.count + 10))
        torch._foreach_lerp_(self.values, [p.detach() for p in model.parameters()], 1 - decay)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Puts the averaged values into a model of the same architecture."""
        for parameter, value in zip(model.parameters(), self.values, strict=True):
            parameter.copy_(value)
