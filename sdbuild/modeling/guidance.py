"""Guidance as a number that a UNet takes beside the time: UNets distilled with it have ``time_cond_proj_dim``.

Source: "On Distillation of Guided Diffusion Models" (Meng et al., 2022), as diffusers' ``get_guidance_scale_embedding`` has it.
"""

import numpy as np
import torch
from torch import Tensor


def guidance_embedding(scale: float, width: int, device: torch.device) -> Tensor:
    """The sinusoids of a guidance scale, float32 [1, width].

    ``scale`` counts as diffusers' ``guidance_scale`` does, by which 1 is no guidance; the papers' w is one less. Traced, it is
    arithmetic on numbers that are known, which conversion computes ahead.
    """
    half = width // 2
    rate = np.log(np.float32(10000)) / np.float32(half - 1)
    thousandths = np.float32(scale - 1) * np.float32(1000)
    angles = torch.exp(torch.arange(half, dtype=torch.float32, device=device) * -float(rate)) * float(thousandths)
    padding = [torch.zeros(1, device=device)] if width % 2 else []
    return torch.cat([torch.sin(angles), torch.cos(angles), *padding])[None]
