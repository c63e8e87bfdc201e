"""sdd: turn a sentence into a one-pass image editor (Selective Diffusion Distillation, arXiv 2307.08448)."""
