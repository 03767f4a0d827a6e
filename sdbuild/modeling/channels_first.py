"""Turn diffusers' UNet into the form that Apple's hardware likes, by replacing modules and keeping their names.

Linear layers become 1×1 convolutions, sequences lie in [batch, channels, 1, sequence], layer norms run over channels. The
parameters keep their names, so any checkpoint of the original fits; only a kernel's shape gains two ones.
"""

from typing import Any

from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.embeddings import TimestepEmbedding
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn
from torch.nn import functional

from sdbuild.errors import SourceError
from sdbuild.modeling.attention import attention


def channels_first(model: nn.Module) -> None:
    """Replace the transformers, the residual blocks and the time embedding in ``model``, in place.

    Args:
        model: a diffusers UNet on the meta device.

    Raises:
        UserError: a transformer block of a kind that Stable Diffusion 1, 2 and XL do not have.
    """
    for name, child in list(model.named_children()):
        if isinstance(child, Transformer2DModel):
            setattr(model, name, _Transformer(child))
            continue
        if isinstance(child, TimestepEmbedding):
            setattr(model, name, _TimeEmbedding(child))
            continue
        if isinstance(child, ResnetBlock2D):
            setattr(model, name, _Residual(child))
            continue
        channels_first(child)


def _pointwise(layer: nn.Module) -> nn.Conv2d:
    """The 1×1 convolution that computes what a linear layer does, on the same device."""
    if isinstance(layer, nn.Conv2d):
        return layer
    if not isinstance(layer, nn.Linear):
        raise SourceError(
            f"trace: expected a linear layer, found {type(layer).__name__}; sdbuild does not know this UNet"
        )
    weight, bias = layer.weight, layer.bias is not None
    return nn.Conv2d(layer.in_features, layer.out_features, 1, bias=bias, device=weight.device, dtype=weight.dtype)


class _ChannelNorm(nn.Module):
    """Layer norm over the channels of [B, C, 1, S]."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.shape, self.epsilon = tuple(norm.normalized_shape), norm.eps

    def forward(self, x: Tensor) -> Tensor:
        last = functional.layer_norm(x.permute(0, 2, 3, 1), self.shape, self.weight, self.bias, self.epsilon)
        return last.permute(0, 3, 1, 2)


class _Attention(nn.Module):
    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v = _pointwise(layer.to_q), _pointwise(layer.to_k), _pointwise(layer.to_v)
        self.to_out = nn.ModuleList([_pointwise(layer.to_out[0])])
        self.heads, self.attend = layer.heads, attention

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        attended = self.attend(self.to_q(x), self.to_k(context), self.to_v(context), self.heads)
        return self.to_out[0](attended)  # type: ignore[no-any-return]


class _GatedGelu(nn.Module):
    def __init__(self, proj: nn.Module) -> None:
        super().__init__()
        self.proj = _pointwise(proj)

    def forward(self, x: Tensor) -> Tensor:
        content, gate = self.proj(x).chunk(2, dim=1)
        gated: Tensor = content * functional.gelu(gate)
        return gated


class _FeedForward(nn.Module):
    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.net = nn.ModuleList([_GatedGelu(layer.net[0].proj), nn.Identity(), _pointwise(layer.net[2])])

    def forward(self, x: Tensor) -> Tensor:
        return self.net[2](self.net[0](x))  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(self, block: BasicTransformerBlock) -> None:
        super().__init__()
        if block.norm_type != "layer_norm" or block.attn2 is None or not hasattr(block.ff.net[0], "proj"):
            raise SourceError(
                f"trace: transformer blocks with norm_type {block.norm_type!r} are not Stable Diffusion 1, 2 or XL"
            )
        self.norm1, self.norm2, self.norm3 = (_ChannelNorm(norm) for norm in (block.norm1, block.norm2, block.norm3))
        self.attn1, self.attn2 = _Attention(block.attn1), _Attention(block.attn2)
        self.ff = _FeedForward(block.ff)
        self.only_cross_attention = block.only_cross_attention

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        normal = self.norm1(x)
        x = self.attn1(normal, context if self.only_cross_attention else normal) + x
        x = self.attn2(self.norm2(x), context) + x
        return self.ff(self.norm3(x)) + x  # type: ignore[no-any-return]


class _Transformer(nn.Module):
    """Stands where diffusers calls a Transformer2DModel, and takes the context as [B, D, 1, tokens]."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.norm = layer.norm
        self.proj_in, self.proj_out = _pointwise(layer.proj_in), _pointwise(layer.proj_out)
        self.transformer_blocks = nn.ModuleList([_Block(block) for block in layer.transformer_blocks])

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: Any) -> tuple[Tensor]:
        x = self.proj_in(self.norm(hidden_states))
        batch, channels, height, width = x.shape
        x = x.view(batch, channels, 1, height * width)
        for block in self.transformer_blocks:
            x = block(x, encoder_hidden_states)
        x = x.view(batch, channels, height, width)
        return (self.proj_out(x) + hidden_states,)


class _TimeEmbedding(nn.Module):
    """[B, C] → [B, D, 1, 1]."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = _pointwise(layer.linear_1), _pointwise(layer.linear_2)
        self.act = layer.act
        self.cond_proj = layer.cond_proj

    def forward(self, sample: Tensor, condition: Tensor | None = None) -> Tensor:
        if condition is not None:
            sample = sample + self.cond_proj(condition)
        return self.linear_2(self.act(self.linear_1(sample[:, :, None, None])))  # type: ignore[no-any-return]


class _Residual(nn.Module):
    """Stands where diffusers calls a ResnetBlock2D; the time embedding is [B, D, 1, 1]."""

    def __init__(self, block: ResnetBlock2D) -> None:
        super().__init__()
        if (
            block.time_embedding_norm != "default"
            or block.skip_time_act
            or block.up
            or block.down
            or block.output_scale_factor != 1
        ):
            raise SourceError("trace: a residual block of a kind that Stable Diffusion 1, 2 and XL do not have")
        self.norm1, self.conv1, self.norm2, self.conv2 = block.norm1, block.conv1, block.norm2, block.conv2
        self.time_emb_proj = _pointwise(block.time_emb_proj)
        self.conv_shortcut = block.conv_shortcut if block.conv_shortcut is not None else nn.Identity()
        self.act = block.nonlinearity

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        hidden = self.conv1(self.act(self.norm1(x))) + self.time_emb_proj(self.act(time))
        hidden = self.conv2(self.act(self.norm2(hidden)))
        return self.conv_shortcut(x) + hidden  # type: ignore[no-any-return]
