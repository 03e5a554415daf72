# One target a paper: everything it publishes.


localrules:
    m3ae,
    slice_vae,


rule m3ae:
    """P1, the multiscale metamorphic VAE: its tables and figures."""
    input:
        lambda w: plan.tables("m3ae"),
        lambda w: plan.figures("m3ae"),


rule slice_vae:
    """P2, the 2D slice VAE with its baselines: its tables and figures."""
    input:
        lambda w: plan.tables("slice_vae"),
        lambda w: plan.figures("slice_vae"),
