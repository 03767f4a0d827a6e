"""The variables of ``doit generate``, in plain words, and how far numbers go: for the command line and recipes, which import
nothing heavy.
"""

from collections.abc import Mapping

from sdbuild.scheduler_kinds import SCHEDULERS

STEPS, GUIDANCE = 20, 7.5
"""Where neither the user nor a bundle says them."""
MAX_STEPS = 1000
MAX_GUIDANCE = 100.0

VARIABLES: Mapping[str, str] = {
    "bundle": "what to generate with instead of a recipe's results: a folder or a zip, of anybody's",
    "prediction": "what the UNet of a bundle without a manifest predicts: epsilon or v_prediction",
    "vae_scale": "of the latent images of a bundle without a manifest (0.18215, of SDXL 0.13025)",
    "prompt": "what the image should show",
    "prompts": "a file with a prompt on each line; empty lines and those that start with # are skipped",
    "negative": "what images should be unlike",
    "seed": "of the first image (93)",
    "count": "images of each prompt, with the seeds that follow (1)",
    "steps": "of the scheduler (20, or the recipe's)",
    "guidance": "how closely to follow the prompt; up to 1 without a negative prompt (7.5, or the recipe's)",
    "scheduler": "ddim, pndm, dpmpp, euler, euler_a … (the model's own, or the recipe's)",
    "rng": "numpy for the noise of Apple's packages, torch for that of diffusers (numpy)",
    "image": "an image to start from; the recipe must have the component vae_encoder",
    "strength": "how much of the image to make new, above 0 and up to 1 (0.6)",
    "sizes": "the sizes that SDXL is given: image, app (the Swift package's 1024), or a number for both sides (image)",
    "precision": "float32, or float16 to round as a device does (float32)",
    "device": "where to compute: cpu, cuda, mps (cpu)",
    "memory": "how much of each model's weights to hold decoded, such as 2GB (all)",
    "out": "the folder for images (build/images/<recipe>)",
}
"""What ``name=value`` may set, in plain words, defaults in brackets."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "prediction": ("epsilon", "v_prediction"),
    "scheduler": tuple(SCHEDULERS),
    "rng": ("numpy", "torch"),
    "sizes": ("image", "app"),
    "precision": ("float32", "float16"),
    "device": ("cpu", "cuda", "mps"),
}
"""Values to offer, of those that only a few make sense for."""
