"""The import path that the layers had at first, which goes on working; they stand in :mod:`mola.layers.adapter`."""

from mola.layers.adapter import LowRank, LowRankConv2d, LowRankLinear

__all__ = ["LowRank", "LowRankConv2d", "LowRankLinear"]
