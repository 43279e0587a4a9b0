"""A program of torch.export in integers, by plan: torchao's PT2E quantization with XNNPACK's quantizer.

PT2E joins convolutions with their batch norms before it observes anything, so ranges are those of the program that it
has prepared: observers write down what they see, and say only at the end which range a plan makes of it. A layer stays
float by leaving out the observers on what goes into it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from torch.fx import GraphModule, Node

from attar.export import ranges
from attar.export.plan import QuantizationPlan
from attar.extras import require

_WEIGHTED = ("conv", "linear", "addmm", "matmul")
"""In the names of operators that begin a layer if they have weights."""


class Quantization:
    """A float program's integer ones.

    Args:
        program: an exported program whose input is one uint8 image (1, H, W, 3).
        calibration: uint8 images (N, H, W, 3) that ranges are taken from.
    """

    def __init__(self, program: Any, calibration: np.ndarray) -> None:
        self._prepared = _prepared(program, calibration)
        self.quantize = lru_cache(maxsize=1)(self._quantize)

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, in the order they run."""
        return tuple(_layers(self._prepared))

    def _quantize(self, plan: QuantizationPlan) -> GraphModule:
        """The program of a plan: weights per channel, activations per tensor."""
        prepared = _without_observers(copy.deepcopy(self._prepared), plan.keep_float)
        for observer in _observers(prepared):
            observer.estimator = plan.ranges
        converted: GraphModule = require("torchao.quantization.pt2e.quantize_pt2e").convert_pt2e(prepared)
        return converted

    @torch.no_grad()
    def predict(self, plan: QuantizationPlan, images: np.ndarray) -> np.ndarray:
        """What the program of a plan answers to uint8 images (N, H, W, 3), in torch."""
        program = self.quantize(plan)
        answers = (program(torch.from_numpy(np.array(image[None]))) for image in images)
        return np.concatenate([(each[0] if isinstance(each, tuple | list) else each).numpy() for each in answers])


@torch.no_grad()
def _prepared(program: Any, calibration: np.ndarray) -> GraphModule:
    """The program with observers, each of which has seen all images."""
    xnnpack = require("executorch.backends.xnnpack.quantizer.xnnpack_quantizer")
    quantizer = xnnpack.XNNPACKQuantizer()
    quantizer.set_global(_config(xnnpack, len(calibration)))
    prepared: GraphModule = require("torchao.quantization.pt2e.quantize_pt2e").prepare_pt2e(program.module(), quantizer)
    for image in calibration:
        prepared(torch.from_numpy(np.array(image[None])))
    return prepared


def _config(xnnpack: Any, images: int) -> Any:
    """XNNPACK's own configuration, with observers that record."""
    config = xnnpack.get_symmetric_quantization_config(is_per_channel=True)
    kind = _recorder()
    # Its own observers' least scale.
    spec = replace(config.input_activation, observer_or_fake_quant_ctr=kind.with_args(eps=2**-12, images=images))
    return replace(config, input_activation=spec, output_activation=spec)


class _Recording(list[ranges.Activation]):
    """What an observer saw; copies of a program share it."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Recording:
        return self


@lru_cache
def _recorder() -> Any:
    """The class of observers that write down what they see. torchao is imported late, so it is made late."""
    base: Any = require("torchao.quantization.pt2e.observer").UniformQuantizationObserverBase

    class Recorder(base):
        def __init__(self, *, images: int, **options: Any) -> None:
            super().__init__(**options)
            self.images, self.seen, self.estimator = images, _Recording(), "whole"

        def forward(self, value: torch.Tensor) -> torch.Tensor:
            self.seen.append(ranges.of_image(value.detach().numpy(), self.images, channels_last=False))
            return value

        def calculate_qparams(self, **_: Any) -> tuple[torch.Tensor, torch.Tensor]:
            low, high = ranges.estimated(self.estimator, ranges.joined(self.seen))
            # Without zero in it, a range has no integer for it.
            extremes = (torch.tensor(min(low, 0.0)), torch.tensor(max(high, 0.0)))
            parameters: tuple[torch.Tensor, torch.Tensor] = self._calculate_qparams(*extremes)
            return parameters

    return Recorder


def _observers(prepared: GraphModule) -> list[Any]:
    return [module for module in prepared.modules() if isinstance(module, _recorder())]


def _layers(prepared: GraphModule) -> dict[str, list[Node]]:
    """Each layer and its operators: one with weights, and those that follow it up to the next."""
    layers: dict[str, list[Node]] = {}
    others = {*_of_familiarity(prepared)}
    for node in prepared.graph.nodes:
        if node.op != "call_function" or node in others:
            continue
        if weight := _weight(node):
            layers[weight] = [node]
        elif layers:
            layers[next(reversed(layers))].append(node)
    return layers


def _of_familiarity(prepared: GraphModule) -> list[Node]:
    """The nodes that only results after the first need: they stay float, as integers do not hold what they compute."""
    first, *others = prepared.graph.output_node().all_input_nodes
    needed = _behind(first)
    return [node for node in set().union(*map(_behind, others)) - needed if node.op == "call_function"]


def _behind(result: Node) -> set[Node]:
    """A node and all that it is computed from."""
    found, rest = set(), [result]
    while rest:
        node = rest.pop()
        if node not in found:
            found.add(node)
            rest.extend(node.all_input_nodes)
    return found


def _weight(node: Node) -> str | None:
    """The name of an operator's weights, without `.weight`; None if it has none."""
    if not any(kind in str(node.target) for kind in _WEIGHTED):
        return None
    for source in map(_unobserved, node.all_input_nodes[1:]):
        if source.op == "get_attr":
            return str(source.target).removesuffix(".weight")
    return None


def _unobserved(node: Node) -> Node:
    """What an observer sees, or the node itself if it is none."""
    return node.all_input_nodes[0] if _is_observer(node) else node


def _is_observer(node: Node) -> bool:
    return node.op == "call_module" and str(node.target).startswith("activation_post_process")


def _without_observers(prepared: GraphModule, layers: Sequence[str]) -> GraphModule:
    """Leave out the observers on what goes into some layers, in place."""
    by_name = _layers(prepared)
    for node in [*(node for layer in layers for node in by_name[layer]), *_of_familiarity(prepared)]:
        for source in node.all_input_nodes:
            node.replace_input_with(source, _unobserved(source))
    for node in reversed(list(prepared.graph.nodes)):
        if _is_observer(node) and not node.users:
            prepared.graph.erase_node(node)
    prepared.delete_all_unused_submodules()
    prepared.recompile()
    return prepared
