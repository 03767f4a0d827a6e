"""Run Core ML packages with torch, on any operating system.

model = load("Unet.mlpackage")
outputs = model.predict({"sample": sample, "timestep": timestep, "encoder_hidden_states": states})
"""

from sdbuild.coreml.runtime.errors import InputError, ModelError, UnsupportedError
from sdbuild.coreml.runtime.model import Model, load

__all__ = ["InputError", "Model", "ModelError", "UnsupportedError", "load"]
