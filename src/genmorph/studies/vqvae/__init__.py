"""P3: the three-level VQ-VAE."""
