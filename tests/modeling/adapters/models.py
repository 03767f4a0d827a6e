"""Models of a few layers, for LoRAs to change."""

from typing import Any

SMALL_UNET: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [4, 8],
    "layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "cross_attention_dim": 12,
    "attention_head_dim": 2,
    "norm_num_groups": 2,
}
"""As Stable Diffusion 1 has it: projections of attention are 1×1 convolutions."""

SMALL_XL: dict[str, Any] = {
    **SMALL_UNET,
    "block_out_channels": [4, 4, 8],
    "layers_per_block": 2,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 4,
    "projection_class_embeddings_input_dim": 34,
    "attention_head_dim": [2, 2, 2],
    "transformer_layers_per_block": [1, 1, 1],
}
"""As SDXL has it: three levels, of which the first has no attention."""

SMALL_TEXT: dict[str, Any] = {
    "architectures": ["CLIPTextModel"],
    "model_type": "clip_text_model",
    "hidden_size": 12,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 32,
    "max_position_embeddings": 16,
    "projection_dim": 8,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
SMALL_TEXT_2: dict[str, Any] = {
    **SMALL_TEXT,
    "architectures": ["CLIPTextModelWithProjection"],
    "hidden_size": 10,
    "projection_dim": 10,
}

PIPELINES: dict[str, dict[str, dict[str, Any]]] = {
    "sd1": {"unet": SMALL_UNET, "text_encoder": SMALL_TEXT},
    "sdxl": {"unet": SMALL_XL, "text_encoder": SMALL_TEXT, "text_encoder_2": SMALL_TEXT_2},
}
