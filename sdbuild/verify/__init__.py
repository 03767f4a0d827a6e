"""Prove artifacts against PyTorch: every component and stage on realistic inputs, and the whole pipeline's image."""

from sdbuild.verify.drawing import Drawing
from sdbuild.verify.pipeline import Subject
from sdbuild.verify.report import Report
from sdbuild.verify.verify import verify

__all__ = ["Drawing", "Report", "Subject", "verify"]
