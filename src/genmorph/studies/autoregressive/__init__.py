"""P5: VQ-VAE and Performer, an autoregressive model."""
