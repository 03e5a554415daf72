"""P2: the 2D slice VAE."""
