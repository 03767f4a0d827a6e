"""`shapes`: a small but real Stable Diffusion model, trained by this project on procedural scenes."""
