"""Phone-safe rewrites: the same function, spelled so that the phone's kernels can run it whole and fast.

Applied to a copy of a student before LiteRT conversion. XNNPACK has no int8 HARD_SWISH, and the converter fuses most
spellings back into it; each one then splits the graph and sends its activations through slow reference kernels. The
constants of hard-swish and hard-sigmoid need no operators of their own either: the convolutions around them can carry
them in their weights.

`FLOAT` and `INTEGER` name the passes, in order. Each edits a `torch.fx` graph in place, and each is exact: logits
change by rounding only, at most 1e-4 of the largest one. What is not exact (ReLU for hard-swish) is chosen when a
student is created, before training: `create_student(..., activation="relu")`.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any, cast

import torch
from timm.layers import Attention, BatchNormAct2d, HardSigmoid, HardSwish, LayerScale2d, MultiQueryAttention2d
from timm.models import fastvit
from timm.models.edgenext import CrossCovarianceAttn, PositionalEncodingFourier
from timm.models.efficientvit_msra import LocalWindowAttention
from timm.models.mobilevit import LinearSelfAttention, MobileVitV2Block
from timm.models.tiny_vit import TinyVitBlock
from torch import fx, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

from attar.students.attention import (
    Attend,
    ChannelAttention,
    MapAttention,
    PlainAttention,
    SelfAttention,
    SeparableAttention,
)
from attar.students.familiarity import Familiarity
from attar.students.norm import PlainGroupNorm
from attar.students.windows import FourierPositions, PatchBlock, WindowAttention, WindowBlock

HARD_SWISHES = (nn.Hardswish, HardSwish)
HARD_SIGMOIDS = (nn.Hardsigmoid, HardSigmoid)
Respelled = Mapping[type[nn.Module], Callable[[Any], nn.Module]]
RESPELLED: Respelled = {
    MultiQueryAttention2d: PlainAttention,
    LinearSelfAttention: SeparableAttention,
    Attention: SelfAttention,
    fastvit.Attention: MapAttention,
    CrossCovarianceAttn: ChannelAttention,
    LocalWindowAttention: WindowAttention,
    TinyVitBlock: WindowBlock,
    MobileVitV2Block: PatchBlock,
    PositionalEncodingFourier: FourierPositions,
}
"""timm's kind -> the same, with its weights, as converters and phones take it."""
SIXTH = 1.0 / 6.0

PLACE = "-"
"""What stands for the dots of a module's path in the names that `phone_safe` gives."""

LINEAR = (nn.Conv2d, nn.Linear)
"""Modules that take a constant factor of their input into their weights."""

HOMOGENEOUS = (nn.ReLU, nn.Identity, nn.Dropout, nn.Flatten, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
"""Modules for which f(c · x) = c · f(x), c > 0."""
HOMOGENEOUS_METHODS = ("mean", "flatten", "reshape", "permute")
HOMOGENEOUS_FUNCTIONS = (torch.relu, functional.relu, functional.dropout, torch.flatten)


def phone_safe(network: nn.Module, *, integer: bool = True) -> fx.GraphModule:
    """A copy of `network`, in evaluation mode, after every pass of `INTEGER` or of `FLOAT`."""
    graph = trace(network, {**RESPELLED, nn.GroupNorm: PlainGroupNorm})
    for change in INTEGER if integer else FLOAT:
        apply(change, graph)
    _name_by_place(graph)
    return graph


def folded(network: nn.Module) -> fx.GraphModule:
    """A copy of `network`, in evaluation mode, with batch norms and layer scales in the convolutions before them.

    Other converters than LiteRT's fold them too, but take most of their time to trace them first.
    """
    graph = trace(network)
    for change in (fold_batch_norm_into_conv, fold_layer_scale):
        apply(change, graph)
    return graph


def differ(network: nn.Module) -> bool:
    """Whether the passes of `INTEGER` give another graph than those of `FLOAT`."""
    return any(isinstance(module, HARD_SWISHES) or is_strided_point(module) for module in network.modules())


def apply(change: Pass, network: fx.GraphModule) -> None:
    """One pass, in place."""
    change(network)
    network.graph.eliminate_dead_code()
    network.delete_all_unused_submodules()
    network.recompile()


def trace(network: nn.Module, respelled: Respelled = RESPELLED) -> fx.GraphModule:
    """A copy of `network` as a graph of torch's own modules and the ones that passes look for.

    Args:
        respelled: kinds of modules, and what stands for each of them in the copy.
    """
    network = copy.deepcopy(network).eval()
    for parent in reversed(list(network.modules())):  # what stands for a module takes over what stands for its parts
        for name, child in list(parent.named_children()):
            if isinstance(child, BatchNormAct2d):
                setattr(parent, name, nn.Sequential(_plain(child), child.drop, child.act))
            for timms, own in respelled.items():
                if isinstance(child, timms):
                    setattr(parent, name, own(child))
    graph = fx.GraphModule(network, _traced(network))
    _unshare(graph)
    return graph


def _traced(network: nn.Module) -> fx.Graph:
    """The graph of a network; modules whose path depends on their input's shape are left whole, as leaves of it."""
    whole: set[type[nn.Module]] = set()
    while True:
        tracer = _Tracer(whole)
        try:
            return tracer.trace(network)
        except fx.proxy.TraceError:
            if tracer.within is None:
                raise
            whole.add(tracer.within)


class _Tracer(fx.Tracer):
    """Traces into timm's modules.

    Attributes:
        within: after a failure, the kind of the innermost module that it happened in.
    """

    def __init__(self, whole: Set[type[nn.Module]]) -> None:
        super().__init__()
        self._whole = whole
        self.within: type[nn.Module] | None = None

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """As its parent's; notes where tracing ends early."""
        try:
            return super().call_module(m, forward, args, kwargs)
        except fx.proxy.TraceError:
            self.within = self.within or type(m)
            raise

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        kinds = (
            *LINEAR,
            *HARD_SWISHES,
            *HARD_SIGMOIDS,
            LayerScale2d,
            Attend,
            FourierPositions,
            Familiarity,
            *self._whole,
        )
        return isinstance(m, kinds) or super().is_leaf_module(m, module_qualified_name)


def _unshare(network: fx.GraphModule) -> None:
    """Give each call a module of its own, so that a pass may change its weights."""
    called: set[str] = set()
    for node in network.graph.nodes:
        if node.op == "call_module":
            if node.target in called:
                own = copy.deepcopy(network.get_submodule(node.target))
                node.target = f"{node.target}_{len(called)}"
                network.add_submodule(node.target, own)
            called.add(node.target)
    network.recompile()


def _name_by_place(network: fx.GraphModule) -> None:
    """Let each module's own name tell its place, `blocks-2-0-conv_dw`: of a path, converters keep the end only."""
    for node in network.graph.nodes:
        if node.op == "call_module":
            name = node.target.replace(".", PLACE)
            if name != node.target:
                network.add_module(name, network.get_submodule(node.target))
                node.target = name
    network.delete_all_unused_submodules()
    network.recompile()


def _plain(norm: BatchNormAct2d) -> nn.BatchNorm2d:
    plain = nn.BatchNorm2d(norm.num_features, norm.eps, dtype=norm.weight.dtype)
    plain.load_state_dict(norm.state_dict())
    return plain.eval()


# --- passes --------------------------------------------------------------------------------------


def fold_batch_norm(network: fx.GraphModule) -> None:
    """conv -> BN becomes the conv alone; a BN after anything else, a depthwise 1x1 convolution: one operator."""
    fold_batch_norm_into_conv(network)
    for node, norm in _calls(network, nn.BatchNorm2d):
        channels = norm.num_features
        conv = nn.Conv2d(channels, channels, 1, groups=channels, bias=False, dtype=norm.weight.dtype)
        nn.init.ones_(conv.weight)
        _fuse(conv, norm)
        network.set_submodule(node.target, conv)


def fold_batch_norm_into_conv(network: fx.GraphModule) -> None:
    """conv -> BN becomes the conv alone; a BN after anything else stays."""
    for node, norm in _calls(network, nn.BatchNorm2d):
        before = node.args[0]
        conv = _module(network, before)
        if isinstance(conv, nn.Conv2d) and len(before.users) == 1:
            _fuse(conv, norm)
            _replace(network, node, before)


@torch.no_grad()
def _fuse(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Take a batch norm that follows into a convolution, in place; computed in double precision."""
    kind = conv.weight.dtype
    assert norm.running_mean is not None and norm.running_var is not None
    conv.weight, conv.bias = (
        nn.Parameter(tensor.to(kind), requires_grad=False)
        for tensor in fuse_conv_bn_weights(
            conv.weight.double(),
            None if conv.bias is None else conv.bias.double(),
            norm.running_mean.double(),
            norm.running_var.double(),
            norm.eps,
            norm.weight,
            norm.bias,
        )
    )


@torch.no_grad()
def fold_layer_scale(network: fx.GraphModule) -> None:
    """conv -> a factor a channel becomes the conv alone."""
    for node, scale in _calls(network, LayerScale2d):
        before = _skip_identities(network, node.args[0])
        conv = _module(network, before)
        if isinstance(conv, nn.Conv2d) and len(before.users) == 1:
            _scale_output(conv, scale.gamma)
            _replace(network, node, before)


def spell_hard_sigmoid(network: fx.GraphModule) -> None:
    """relu6(x + 3) · 1/6."""
    for node, _ in _calls(network, HARD_SIGMOIDS):
        with network.graph.inserting_before(node):
            clamped = _relu6_of_shifted(network, node.args[0])
            _replace(network, node, _call(network, operator.mul, clamped, SIXTH))


def spell_hard_swish(network: fx.GraphModule) -> None:
    """x · relu6(x + 3) · 1/6 (MobileNetV3, arXiv 1905.02244, section 5.2)."""
    for node, _ in _calls(network, HARD_SWISHES):
        with network.graph.inserting_before(node):
            product = _call(network, operator.mul, node.args[0], _relu6_of_shifted(network, node.args[0]))
            _replace(network, node, _call(network, operator.mul, product, SIXTH))


@torch.no_grad()
def fold_shift(network: fx.GraphModule) -> None:
    """conv -> + constant becomes the conv alone, with a larger bias."""
    for node in _constants(network, operator.add):
        before = node.args[0]
        conv = _module(network, before)
        if isinstance(conv, LINEAR) and len(before.users) == 1:
            bias = conv.weight.new_zeros(len(conv.weight)) if conv.bias is None else conv.bias
            conv.bias = nn.Parameter(bias + node.args[1], requires_grad=False)
            _replace(network, node, before)


@torch.no_grad()
def sink_factors(network: fx.GraphModule) -> None:
    """x · constant -> … -> conv becomes x -> … -> conv with smaller weights, if every way from x ends in one.

    Where one does not, the constant is multiplied first, (x · c) · y, because the converter would fuse the product
    into HARD_SWISH otherwise.
    """
    for node in _constants(network, operator.mul):
        plan = _Sinks(network).follow(node)
        if plan.possible:
            for conv in plan.takers:
                conv.weight.mul_(node.args[1])
            for conv in plan.companions:
                _scale_output(conv, torch.tensor(1.0 / node.args[1]))
            _replace(network, node, node.args[0])
        elif node.args[0].target is operator.mul:
            _multiply_first(network, node)


def pad_before_max_pool(network: fx.GraphModule) -> None:
    """A max-pool that pads becomes finite padding and a max-pool without: integers have no minus infinity.

    Behind a ReLU zeros are as small; elsewhere the values at the edge, which each window beyond it has anyway.
    """
    for node, pool in _calls(network, nn.MaxPool2d):
        (high, wide), before = _pair(pool.padding), node.args[0]
        if not (high or wide) or pool.ceil_mode or _pair(pool.dilation) != (1, 1):
            continue
        reader = _skip_identities(network, before)
        clipped = isinstance(_module(network, reader), (nn.ReLU, nn.ReLU6))
        positive = clipped or reader.target in (torch.relu, functional.relu)
        sides = (wide, wide, high, high)
        name = f"{node.target}_padded"
        network.add_submodule(name, nn.ZeroPad2d(sides) if positive else _EdgePad(sides))
        with network.graph.inserting_before(node):
            node.args = (network.graph.call_module(name, (before,)), *node.args[1:])
        pool.padding = 0


@torch.no_grad()
def lengthen_strided_points(network: fx.GraphModule) -> None:
    """A 1 x 1 convolution with a stride becomes one of 2 x 1, whose second row is zero.

    LiteRT's GPU accelerator computes quantized ones without their stride, and nothing says so.
    """
    for node, conv in _calls(network, nn.Conv2d):
        if is_strided_point(conv):
            network.set_submodule(node.target, _TwoRows(conv))


def is_strided_point(module: nn.Module) -> bool:
    """Whether it is a convolution of 1 x 1 with a stride, over all channels."""
    if not isinstance(module, nn.Conv2d) or module.groups > 1:
        return False
    return module.kernel_size == (1, 1) and max(module.stride) > 1 and module.padding == (0, 0)


class _TwoRows(nn.Conv2d):
    """The same function as a convolution of 1 x 1."""

    def __init__(self, point: nn.Conv2d) -> None:
        bias = point.bias is not None
        super().__init__(
            point.in_channels, point.out_channels, (2, 1), cast(Any, point.stride), bias=bias, dtype=point.weight.dtype
        )
        self.weight.zero_()[:, :, :1].copy_(point.weight)
        if point.bias is not None and self.bias is not None:
            self.bias.copy_(point.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float (N, C, H, W); a row is added where the last one is read, and there would be none below it."""
        return super().forward(functional.pad(x, (0, 0, 0, 1)) if (x.shape[2] - 1) % self.stride[0] == 0 else x)


class _EdgePad(nn.Module):
    """`nn.ReplicationPad2d` in slices and concatenations, which every runtime has."""

    def __init__(self, sides: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.sides = sides

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float (N, C, H, W) -> the same with the values at its edges beyond them."""
        left, right, top, bottom = self.sides
        x = torch.cat([x[..., :1]] * left + [x] + [x[..., -1:]] * right, 3)
        return torch.cat([x[..., :1, :]] * top + [x] + [x[..., -1:, :]] * bottom, 2)


def spell_normalize(network: fx.GraphModule) -> None:
    """x / max(|x|, ε) becomes x · 1/√max(Σ x², ε²): the converter writes POW for some shapes, which XNNPACK lacks."""
    for node in [node for node in network.graph.nodes if node.target is functional.normalize]:
        x, p, dim, eps = _normalize_arguments(*node.args, **node.kwargs)
        if p != 2.0:
            continue
        with network.graph.inserting_before(node):
            squares = _call(network, torch.sum, _call(network, operator.mul, x, x), dim, True)
            scale = _call(network, torch.rsqrt, _call(network, torch.clamp_min, squares, eps**2))
            _replace(network, node, _call(network, operator.mul, x, scale))


def _normalize_arguments(
    input: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: None = None
) -> tuple[Any, float, int, float]:
    """What `torch.nn.functional.normalize` takes, and its defaults."""
    return input, p, dim, eps


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


Pass = Callable[[fx.GraphModule], None]

FLOAT: tuple[Pass, ...] = (
    fold_batch_norm,
    fold_layer_scale,
    spell_hard_sigmoid,
    fold_shift,
    sink_factors,
    spell_normalize,
    pad_before_max_pool,
)
"""For a file that computes in float: there HARD_SWISH is one operator of XNNPACK, and stays. Attention is respelled
before, by `trace`."""

INTEGER: tuple[Pass, ...] = (
    fold_batch_norm,
    fold_layer_scale,
    spell_hard_sigmoid,
    spell_hard_swish,
    fold_shift,
    sink_factors,
    spell_normalize,
    pad_before_max_pool,
    lengthen_strided_points,
)
"""For a file that computes in int8."""


class _Sinks:
    """Where a constant factor of one tensor can go.

    Attributes:
        takers: modules behind it whose weights take the factor.
        companions: modules whose output is added to a tensor with the factor, and must then have it too: they are
            divided by it.
        possible: no way leads to anything else.
    """

    def __init__(self, network: fx.GraphModule) -> None:
        self.takers: list[Any] = []
        self.companions: list[Any] = []
        self.possible = True
        self._network = network
        self._seen: set[fx.Node] = set()

    def follow(self, node: fx.Node) -> _Sinks:
        """Look at every user of `node`, and on behind those that pass the factor on."""
        self._seen.add(node)
        for user in node.users:
            module = _module(self._network, user)
            if isinstance(module, LINEAR):
                self.takers.append(module)
            elif user.op == "output" or not self._passes_on(user, node, module):
                self.possible = False
            else:
                self.follow(user)
        return self

    def _passes_on(self, user: fx.Node, node: fx.Node, module: nn.Module | None) -> bool:
        if user in self._seen:  # reached twice: the factor would come in squared
            return False
        if user.target is operator.add:
            return self._join(next((other for other in user.args if other is not node), None))
        homogeneous = HOMOGENEOUS_METHODS if user.op == "call_method" else HOMOGENEOUS_FUNCTIONS
        return isinstance(module, HOMOGENEOUS) or user.target is operator.mul or user.target in homogeneous

    def _join(self, other: Any) -> bool:
        other = _skip_identities(self._network, other)
        conv = _module(self._network, other)
        if not isinstance(conv, LINEAR) or len(other.users) > 1:
            return False
        self.companions.append(conv)
        return True


# --- small edits ---------------------------------------------------------------------------------


def _calls(network: fx.GraphModule, kinds: Any) -> Iterator[tuple[Any, Any]]:
    """Nodes that call a module of these kinds, with the module."""
    for node in list(network.graph.nodes):
        module = _module(network, node)
        if isinstance(module, kinds):
            yield node, module


def _constants(network: fx.GraphModule, function: Any) -> Iterator[Any]:
    """Nodes `function(tensor, number)`."""
    for node in list(network.graph.nodes):
        if node.target is function and isinstance(node.args[1], float):
            yield node


def _module(network: fx.GraphModule, node: Any) -> nn.Module | None:
    if isinstance(node, fx.Node) and node.op == "call_module":
        return network.get_submodule(str(node.target))
    return None


def _skip_identities(network: fx.GraphModule, node: Any) -> Any:
    """The node whose value this is: dropout and identities do nothing in evaluation mode."""
    while isinstance(_module(network, node), (nn.Identity, nn.Dropout)) and len(node.users) == 1:
        node = node.args[0]
    return node


def _call(network: fx.GraphModule, function: Callable[..., Any], *arguments: Any) -> fx.Node:
    return network.graph.call_function(function, arguments)


def _relu6_of_shifted(network: fx.GraphModule, x: Any) -> fx.Node:
    return _call(network, functional.relu6, _call(network, operator.add, x, 3.0))


def _replace(network: fx.GraphModule, node: fx.Node, other: Any) -> None:
    node.replace_all_uses_with(other)
    network.graph.erase_node(node)


def _multiply_first(network: fx.GraphModule, node: Any) -> None:
    x, y = node.args[0].args
    with network.graph.inserting_before(node):
        _replace(network, node, _call(network, operator.mul, _call(network, operator.mul, x, node.args[1]), y))


def _scale_output(conv: Any, factor: torch.Tensor) -> None:
    conv.weight.mul_(factor.view(-1, *[1] * (conv.weight.dim() - 1)))
    if conv.bias is not None:
        conv.bias.mul_(factor)
