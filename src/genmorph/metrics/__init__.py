"""Measures of volumes: pure functions of arrays that give a `Measurement`."""
