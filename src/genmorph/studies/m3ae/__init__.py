"""P1: the multiscale metamorphic VAE (M3AE)."""
