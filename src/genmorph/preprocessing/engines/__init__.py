"""The software that carries out a step; `builtin` needs nothing beside the Python packages."""
