"""Prove artifacts against PyTorch: every component and stage on realistic inputs, and the whole pipeline's image."""

from sdbuild.verify.drawing import Drawing
from sdbuild.verify.pipeline import Made, Subject
from sdbuild.verify.report import Report

__all__ = ["Drawing", "Made", "Report", "Subject"]
