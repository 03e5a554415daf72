"""GenMorph: one reproducible study of generative models of 3D MRI."""

__version__ = "0.1.0"
