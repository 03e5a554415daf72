"""Fréchet distance of 2048 features of 500 images a side, beside the textbook's matrix root.

    python benchmarks/frechet.py --images 500 --dimension 2048 --threads 2

The peer forms both covariances and takes `scipy.linalg.sqrtm` of their product, as the public
implementations of FID do. Features are not negative and unequally scaled, as pooled ones are.
"""

from __future__ import annotations

import argparse

import numpy as np
from peers import race
from scipy.linalg import sqrtm
from threadpoolctl import threadpool_limits

from genmorph.metrics.frechet import frechet_distance


def main() -> None:
    """Time both on the same features."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--dimension", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    scale = 1 / (1 + np.arange(options.dimension)) ** 0.5
    mixing = rng.normal(size=(64, options.dimension)) * scale
    sides = [
        np.abs(
            rng.normal(size=(options.images, 64)) @ mixing
            + 0.3 * scale * rng.normal(size=(options.images, options.dimension))
            + shift * scale
        )
        for shift in (0.0, 0.5)
    ]
    print(f"{options.images} images, {options.dimension} features, {options.threads} threads")
    with threadpool_limits(options.threads):
        race(
            {
                "genmorph": lambda: frechet_distance(*sides),
                "scipy sqrtm": lambda: by_matrix_root(*sides),
            },
            options.rounds,
        )


def by_matrix_root(first: np.ndarray, second: np.ndarray) -> float:
    """|m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^½), as it is written."""
    covariances = [np.cov(side, rowvar=False) for side in (first, second)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    difference = first.mean(0) - second.mean(0)
    return float(difference @ difference + np.trace(covariances[0] + covariances[1] - 2 * root))


if __name__ == "__main__":
    main()
