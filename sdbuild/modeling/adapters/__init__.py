"""LoRAs and their relatives: files that say by how much a model's weights differ.

`kinds/` has a file for each way to write a difference, `namings/` one for each way to name the layers that it is of. `resolve`
finds out which tensors of a file change which parameters of a model, from headers alone; `sdbuild.modeling.overlays.loras`
computes the sums.
"""
