"""Stage `text`: the CLIP text encoder, trained alone and frozen afterwards.

It learns to tell the attributes of a caption, at the end mark and at every padding token
after it, over captions of all phrasings. The UNet then sees embeddings in which the four
attributes are plainly separable; trained together with the UNet they were not, and the
shape was never learnt. No picture is involved, so no held-out picture is seen.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from sdbuild.shapes.parallel import cosine_rate
from sdbuild.shapes.scenes import COLOURS, SHAPES, SIZES, TEMPLATES, Scene, all_scenes
from sdbuild.shapes.tokenizer import MAX_LENGTH

SEED = 5
WIDTH = 128
_VALUES = {"size": SIZES, "colour": COLOURS, "shape": SHAPES, "background": COLOURS}


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """The untrained text encoder for a vocabulary."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=MAX_LENGTH,
            hidden_act="quick_gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Token ids, int64 [N, 77], padded as the pipeline pads them."""
    ids: Tensor = tokenizer(
        captions,
        padding="max_length",
        max_length=MAX_LENGTH,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    return ids


def _labels(scene: Scene, template: str) -> list[int]:
    """Index of every attribute's value; the count of values where the caption is silent."""
    return [
        values.index(getattr(scene, name)) if "{" + name + "}" in template else len(values)
        for name, values in _VALUES.items()
    ]


def caption_table(tokenizer: CLIPTokenizer) -> tuple[Tensor, Tensor]:
    """Ids [C, 77] and labels [C, 4] of every caption in every phrasing, and the empty one."""
    rows = [(s.caption(t), _labels(s, t)) for t in TEMPLATES for s in all_scenes()]
    unique = {"": [len(values) for values in _VALUES.values()]} | dict(rows)
    return tokenize(tokenizer, list(unique)), torch.tensor(list(unique.values()))


def train_text_encoder(tokenizer: CLIPTokenizer, out: Path, steps: int = 800) -> CLIPTextModel:
    """Trains the encoder (about two minutes) and saves its weights to `out`/text.pt."""
    torch.manual_seed(SEED)
    model = build_text_encoder(tokenizer)
    heads = nn.ModuleList(nn.Linear(WIDTH, len(v) + 1) for v in _VALUES.values())
    parameters = [*model.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    ids, labels = caption_table(tokenizer)
    end = tokenizer.eos_token_id
    rng = np.random.default_rng(SEED)
    for step in range(steps):
        # Every phrasing equally often, although partial captions are fewer.
        batch = torch.from_numpy(rng.integers(0, len(ids), size=32))
        hidden = model(input_ids=ids[batch]).last_hidden_state
        after = ids[batch] == end  # the end mark and, padding being the same token, all pads
        loss = torch.zeros(())
        right = []
        for k, head in enumerate(heads):
            logits = head(hidden[after])
            wanted = labels[batch, k][:, None].expand(-1, MAX_LENGTH)[after]
            loss = loss + nn.functional.cross_entropy(logits, wanted)
            right.append(float((logits.argmax(1) == wanted).float().mean()))
        for group in optimizer.param_groups:
            group["lr"] = cosine_rate(step, steps, 1e-3)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        if (step + 1) % 50 == 0:
            print(
                f"text {step + 1}/{steps} loss {float(loss.detach()):.4f} right "
                + " ".join(f"{share:.3f}" for share in right),
                flush=True,
            )
    torch.save(model.state_dict(), out / "text.pt")
    return model.eval().requires_grad_(False)


def load_text_encoder(tokenizer: CLIPTokenizer, checkpoint: Path) -> CLIPTextModel:
    """The trained, frozen encoder."""
    model = build_text_encoder(tokenizer)
    model.load_state_dict(torch.load(checkpoint, weights_only=True))
    return model.eval().requires_grad_(False)


@torch.no_grad()
def embed(model: CLIPTextModel, tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Hidden states [N, 77, 128] of captions, in batches."""
    ids = tokenize(tokenizer, captions)
    return torch.cat([model(input_ids=part).last_hidden_state for part in torch.chunk(ids, -(-len(ids) // 128))])
