"""As Stable Diffusion's, without the safety checker."""

from sdbuild.bundle.contracts import stable_diffusion
from sdbuild.bundle.rules import Pipeline

CONTRACT = Pipeline(models=stable_diffusion.CONTRACT.models[:-1], choices=stable_diffusion.CONTRACT.choices)
