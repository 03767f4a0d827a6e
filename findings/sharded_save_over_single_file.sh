#!/usr/bin/env bash
# A model saved whole, then saved again in shards into the same folder: which weights does the folder hold?
#
# Guess: those that were saved last, and both libraries agree, since one pipeline's folder is read by the two of them.
# Behaviour: save_pretrained of both leaves the whole file of the first save beside the shards and index of the second.
# diffusers then loads the shards, transformers the whole file: a text encoder that was trained further, saved in shards and
# loaded again has its former weights, without a warning, while a VAE treated alike has its new ones.
#
# Versions: torch 2.13.0, diffusers 0.42.1, transformers 5.24.0, safetensors 0.8.0. Output:
#   diffusers: 1.0 saved whole, then 5.0 in shards, 5.0 loaded
#   transformers: 1.0 saved whole, then 5.0 in shards, 1.0 loaded
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 diffusers==0.42.1 transformers==5.24.0 safetensors==0.8.0
cd "$work"
"$work/venv/bin/python" 2>/dev/null >out <<'EOF'
import torch
from diffusers import AutoencoderKL
from transformers import CLIPTextConfig, CLIPTextModel


def first(model):
    return next(model.parameters()).flatten()[0].item()


def filled(model, value):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    return model


def twice(library, kind, model):
    filled(model, 1.0).save_pretrained(library)
    filled(model, 5.0).save_pretrained(library, max_shard_size="100KB")
    print(f"{library}: 1.0 saved whole, then 5.0 in shards, {first(kind.from_pretrained(library))} loaded")


twice("diffusers", AutoencoderKL, AutoencoderKL(block_out_channels=(32,)))
config = CLIPTextConfig(
    vocab_size=100, hidden_size=64, intermediate_size=256, num_hidden_layers=4, num_attention_heads=2,
    bos_token_id=98, eos_token_id=99,
)
twice("transformers", CLIPTextModel, CLIPTextModel(config))
EOF
cat out
diff out - <<'EOF'
diffusers: 1.0 saved whole, then 5.0 in shards, 5.0 loaded
transformers: 1.0 saved whole, then 5.0 in shards, 1.0 loaded
EOF
