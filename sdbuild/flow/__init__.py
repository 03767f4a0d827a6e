"""From a prompt to a latent image to pixels, over networks by name, whoever computes them.

One path for everybody: `generate` runs a bundle's models through it, `verify` the originals and then what was built of them.
What lies between the networks is the same code and the same numbers for all, so images differ by what the networks do, and
by nothing else. One network is held at a time.
"""
