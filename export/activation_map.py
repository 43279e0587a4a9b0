"""Where an exported file gives its last feature map, and where in it the classifier's weights stand.

A class activation map (arXiv 1512.04150, section 2) is the feature map before the average pool, weighted by the
classifier's row of the class. Where a graph ends in a pool and one linear layer (the DWSConv head does), both stand in
the file already: the map becomes a second output, and the weights are read at their place in the file. The arithmetic
of the probabilities stays as it is. `attar.export.tflite.maps` and `attar.export.onnx_maps` make such files.
"""

from __future__ import annotations

from dataclasses import dataclass

FEATURE_MAP = "feature_map"
"""Name of the second output."""


@dataclass(frozen=True)
class ActivationMap:
    """Where an app finds what it needs.

    Attributes:
        output: name of the second output, float32 of one image.
        layout: order of its values: `nhwc` (channels together) or `nchw` (a plane per channel).
        height: of the map, cells.
        width: of the map, cells.
        channels: of the map, and weights of a class.
        kind: type of the weights: `int8`, `float16` or `float32`. Integers have one positive factor per class, which
            does not change a map's shape.
        offset: of the first class's weights in the file, bytes; each class's follow the one before.
    """

    output: str
    layout: str
    height: int
    width: int
    channels: int
    kind: str
    offset: int
