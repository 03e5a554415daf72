"""The Inception-v3 trunk behind the Fréchet inception distance, in plain torch.

Szegedy et al. (2016) as the 2015 TensorFlow graph has it, whose weights Heusel et al. (2017) used.
That graph departs from the network as it is usually built in two ways, both kept here: average
pooling inside a block leaves the padding out of the average, and the last block takes a maximum
instead. Names of layers are those of the weight file.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

FEATURES = 2048
BATCH_NORM_EPSILON = 0.001

Size = int | tuple[int, int]


class Convolution(nn.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: Size, stride: int = 1, padding: Size = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=BATCH_NORM_EPSILON)

    def forward(self, images: Tensor) -> Tensor:
        """`[n, inputs, h, w]` to `[n, outputs, h', w']`."""
        return functional.relu(self.bn(self.conv(images)), inplace=True)


def average(images: Tensor) -> Tensor:
    """Mean over 3 x 3 voxels, padding left out of the count."""
    return functional.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)


def maximum(images: Tensor) -> Tensor:
    """Greatest of 3 x 3 voxels."""
    return functional.max_pool2d(images, 3, stride=1, padding=1)


def halve(images: Tensor) -> Tensor:
    """Greatest of 3 x 3 voxels, every second voxel."""
    return functional.max_pool2d(images, 3, stride=2)


class SquareBlock(nn.Module):
    """Branches of 1 x 1, 5 x 5 and twice 3 x 3 (35 x 35 voxels)."""

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(inputs, 64, 1)
        self.branch5x5_1 = Convolution(inputs, 48, 1)
        self.branch5x5_2 = Convolution(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Convolution(inputs, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, padding=1)
        self.branch_pool = Convolution(inputs, pooled, 1)

    def forward(self, images: Tensor) -> Tensor:
        """`[n, inputs, h, w]` to `[n, 224 + pooled, h, w]`."""
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(images))
        branches = [
            self.branch1x1(images),
            self.branch5x5_2(self.branch5x5_1(images)),
            self.branch3x3dbl_3(double),
            self.branch_pool(average(images)),
        ]
        return torch.cat(branches, 1)


class FirstReduction(nn.Module):
    """From 35 x 35 to 17 x 17 voxels."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = Convolution(inputs, 384, 3, stride=2)
        self.branch3x3dbl_1 = Convolution(inputs, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        """`[n, inputs, h, w]` to `[n, 480 + inputs, h', w']`."""
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(images))
        return torch.cat([self.branch3x3(images), self.branch3x3dbl_3(double), halve(images)], 1)


class CrossBlock(nn.Module):
    """Branches of 1 x 7 and 7 x 1 convolutions (17 x 17 voxels)."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()

        def row(inputs: int, outputs: int) -> Convolution:
            return Convolution(inputs, outputs, (1, 7), padding=(0, 3))

        def column(inputs: int, outputs: int) -> Convolution:
            return Convolution(inputs, outputs, (7, 1), padding=(3, 0))

        self.branch1x1 = Convolution(inputs, 192, 1)
        self.branch7x7_1 = Convolution(inputs, hidden, 1)
        self.branch7x7_2 = row(hidden, hidden)
        self.branch7x7_3 = column(hidden, 192)
        self.branch7x7dbl_1 = Convolution(inputs, hidden, 1)
        self.branch7x7dbl_2 = column(hidden, hidden)
        self.branch7x7dbl_3 = row(hidden, hidden)
        self.branch7x7dbl_4 = column(hidden, hidden)
        self.branch7x7dbl_5 = row(hidden, 192)
        self.branch_pool = Convolution(inputs, 192, 1)

    def forward(self, images: Tensor) -> Tensor:
        """`[n, inputs, h, w]` to `[n, 768, h, w]`."""
        single = self.branch7x7_2(self.branch7x7_1(images))
        double = self.branch7x7dbl_2(self.branch7x7dbl_1(images))
        double = self.branch7x7dbl_4(self.branch7x7dbl_3(double))
        branches = [
            self.branch1x1(images),
            self.branch7x7_3(single),
            self.branch7x7dbl_5(double),
            self.branch_pool(average(images)),
        ]
        return torch.cat(branches, 1)


class SecondReduction(nn.Module):
    """From 17 x 17 to 8 x 8 voxels."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1 = Convolution(inputs, 192, 1)
        self.branch3x3_2 = Convolution(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Convolution(inputs, 192, 1)
        self.branch7x7x3_2 = Convolution(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = Convolution(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = Convolution(192, 192, 3, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        """`[n, inputs, h, w]` to `[n, 512 + inputs, h', w']`."""
        cross = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(images)))
        square = self.branch3x3_2(self.branch3x3_1(images))
        return torch.cat([square, self.branch7x7x3_4(cross), halve(images)], 1)


class FanBlock(nn.Module):
    """Branches that end in a 1 x 3 and a 3 x 1 convolution side by side (8 x 8 voxels)."""

    def __init__(self, inputs: int, pool: str) -> None:
        super().__init__()
        self.pool = {"average": average, "maximum": maximum}[pool]
        self.branch1x1 = Convolution(inputs, 320, 1)
        self.branch3x3_1 = Convolution(inputs, 384, 1)
        self.branch3x3_2a = Convolution(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = Convolution(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = Convolution(inputs, 448, 1)
        self.branch3x3dbl_2 = Convolution(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Convolution(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = Convolution(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = Convolution(inputs, 192, 1)

    def forward(self, images: Tensor) -> Tensor:
        """`[n, inputs, h, w]` to `[n, 2048, h, w]`."""
        single = self.branch3x3_1(images)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(images))
        branches = [
            self.branch1x1(images),
            self.branch3x3_2a(single),
            self.branch3x3_2b(single),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
            self.branch_pool(self.pool(images)),
        ]
        return torch.cat(branches, 1)


class InceptionTrunk(nn.Module):
    """Everything up to the third pooling ('pool3'): 2048 features an image."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3)
        self.Mixed_5b = SquareBlock(192, pooled=32)
        self.Mixed_5c = SquareBlock(256, pooled=64)
        self.Mixed_5d = SquareBlock(288, pooled=64)
        self.Mixed_6a = FirstReduction(288)
        self.Mixed_6b = CrossBlock(768, hidden=128)
        self.Mixed_6c = CrossBlock(768, hidden=160)
        self.Mixed_6d = CrossBlock(768, hidden=160)
        self.Mixed_6e = CrossBlock(768, hidden=192)
        self.Mixed_7a = SecondReduction(768)
        self.Mixed_7b = FanBlock(1280, pool="average")
        self.Mixed_7c = FanBlock(2048, pool="maximum")

    def forward(self, images: Tensor) -> Tensor:
        """`[n, 3, 299, 299]` in [-1, 1] to `[n, 2048]`."""
        features = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images)))
        features = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(halve(features)))
        features = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(halve(features))))
        features = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(features)))
        features = self.Mixed_7a(self.Mixed_6e(self.Mixed_6d(features)))
        return self.Mixed_7c(self.Mixed_7b(features)).mean((2, 3))
