"""MS-SSIM of one pair of volumes beside MONAI and pytorch-msssim: time and value.

    python benchmarks/ms_ssim.py --side 192 --threads 2 --rounds 3

All three compute the five-scale definition with a window of 11 taps (mode `wang`); the last row is
pytorch-msssim in double precision, which the others' values are to be read against. The pair is
random at several scales, with an empty border as around a brain.

On a machine with more work than cores, set OMP_WAIT_POLICY=PASSIVE: threads of all three then sleep
while they wait for each other, and do not burn the time that the other thread needs.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from monai.metrics import MultiScaleSSIMMetric
from peers import race
from pytorch_msssim import ms_ssim as pytorch_msssim

from genmorph.metrics.multiscale_ssim import definition, ms_ssim, scale_moments


def main() -> None:
    """Time a pair, moments of both volumes included, and once with those of one at hand."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=192, help="voxels along each axis")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    first, second = pair(options.side)
    single = [torch.from_numpy(volume)[None, None] for volume in (first, second)]
    double = [volume.double() for volume in single]
    how = definition(first.shape, mode="wang", data_range=1.0)
    kwon = definition(first.shape, mode="kwon", data_range=1.0)
    moments = [scale_moments(volume, how) for volume in (first, second)]

    def fresh(how_computed):
        return ms_ssim(
            scale_moments(first, how_computed), scale_moments(second, how_computed), how_computed
        )

    print(f"{options.side}³, {options.threads} threads")
    with torch.no_grad():
        race(
            {
                "genmorph wang": lambda: fresh(how),
                "genmorph wang, moments at hand": lambda: ms_ssim(*moments, how),
                "genmorph kwon": lambda: fresh(kwon),
                "pytorch-msssim": lambda: pytorch_msssim(*single, data_range=1.0).item(),
                "MONAI": lambda: MultiScaleSSIMMetric(3)(*single).item(),
            },
            options.rounds,
        )
        print(f"double precision | {pytorch_msssim(*double, data_range=1.0).item():.9g}")


def pair(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Two volumes in [0, 1], the second the first with noise; a multiple of 16 voxels a side."""
    rng = np.random.default_rng(0)
    volume = rng.random((side,) * 3, dtype=np.float32)
    for size in (4, 16):
        coarse = rng.random((side // size,) * 3, dtype=np.float32)
        volume += coarse.repeat(size, 0).repeat(size, 1).repeat(size, 2)
    volume /= 3
    border = side // 8
    empty = np.ones_like(volume)
    empty[border:-border, border:-border, border:-border] = 0
    volume[empty > 0] = 0
    return volume, 0.8 * volume + 0.2 * rng.random(volume.shape, dtype=np.float32)


if __name__ == "__main__":
    main()
