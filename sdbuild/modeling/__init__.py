"""The models as torch modules, shaped for Apple's hardware: built without weights, traced, and matched to checkpoints."""
