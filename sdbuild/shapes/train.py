"""Trains the model from nothing: `python -m sdbuild.shapes.train --out DIR`.

Stages run in order and leave their result in DIR; one whose result is there is resumed or
skipped, so a killed run is continued by the same command.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from sdbuild.parser import Parser
from sdbuild.program import run_program
from sdbuild.shapes.evaluate import MODEL_FOLDER
from sdbuild.shapes.evaluate import main as evaluate
from sdbuild.shapes.export import export_model
from sdbuild.shapes.tokenizer import load_tokenizer, write_tokenizer
from sdbuild.shapes.train_decoder import DecoderPlan, train_decoder
from sdbuild.shapes.train_text import train_text_encoder
from sdbuild.shapes.train_unet import UnetPlan, make_latents, train_unet
from sdbuild.shapes.train_vae import VaePlan, train_vae

STAGES = ("tokenizer", "text", "vae", "latents", "unet", "decoder", "export", "score")


def run_stage(stage: str, options: argparse.Namespace) -> None:
    """Runs one stage; see `STAGES`."""
    out: Path = options.out
    if stage == "tokenizer":
        write_tokenizer(out / "tokenizer")
    elif stage == "text":
        if not (out / "text.pt").exists():
            train_text_encoder(load_tokenizer(out / "tokenizer"), out)
    elif stage == "vae":
        train_vae(VaePlan(out, options.vae_steps, options.workers))
    elif stage == "latents":
        if not (out / "vae-scaled.pt").exists():
            make_latents(out, options.workers)
    elif stage == "unet":
        train_unet(UnetPlan(out, options.unet_steps, options.workers))
    elif stage == "decoder":
        train_decoder(DecoderPlan(out, options.decoder_steps, options.workers))
    elif stage == "export":
        print(f"exported {export_model(out, options.model)} bytes to {options.model}")
    elif stage == "score":
        evaluate(["--model", str(options.model)])
    else:
        raise ValueError(f"unknown stage: {stage!r}")


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--stage", choices=STAGES, nargs="+", default=list(STAGES))
    parser.add_argument("--model", type=Path, default=MODEL_FOLDER, help="where to export to")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--vae-steps", type=int, default=1800)
    parser.add_argument("--unet-steps", type=int, default=3000)
    parser.add_argument("--decoder-steps", type=int, default=1000)
    options = parser.parse_args(arguments)
    # One OpenMP thread a process, in the spawned ones too; see parallel.py.
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for stage in options.stage:
        print(f"stage {stage}", flush=True)
        run_stage(stage, options)
    return 0


if __name__ == "__main__":
    run_program(main)
