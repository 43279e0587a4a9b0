"""Phone-safe rewrites: each pass alone changes nothing that a network computes, and leaves what it promises."""

from __future__ import annotations

import operator
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import Attention, BatchNormAct2d, HardSigmoid, HardSwish, LayerScale2d, MultiQueryAttention2d
from timm.models import fastvit
from timm.models.edgenext import CrossCovarianceAttn, PositionalEncodingFourier
from timm.models.efficientvit_msra import LocalWindowAttention
from timm.models.mobilevit import LinearSelfAttention, MobileVitBlock, MobileVitV2Block
from timm.models.tiny_vit import TinyVitBlock
from torch import fx, nn
from torch.nn import functional

from attar.students import create_student
from attar.students.norm import PlainGroupNorm
from attar.students.rewrites import (
    FLOAT,
    HARD_SIGMOIDS,
    HARD_SWISHES,
    INTEGER,
    apply,
    differ,
    fold_batch_norm,
    fold_layer_scale,
    fold_shift,
    folded,
    is_strided_point,
    lengthen_strided_points,
    pad_before_max_pool,
    phone_safe,
    sink_factors,
    spell_hard_sigmoid,
    spell_hard_swish,
    spell_normalize,
    trace,
)
from attar.students.windows import PatchBlock

NAMES = [
    "mobilenetv2_035",
    "mobilenetv3_small_050",
    "mobilenetv3_large_100",
    "mobilenetv4_conv_small_035",
    "mobilenetv4_hybrid_medium",
    "tf_efficientnet_lite0",
    "tf_mobilenetv3_small_075",
]


@torch.no_grad()
def network(name: str, head: str = "stock") -> nn.Module:
    """A network in float64 whose batch norms and layer scales do something."""
    torch.manual_seed(0)
    student = create_student(name, 5, head=head, head_width=32)
    for module in student.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, std=0.2)
            module.momentum = None
        elif isinstance(module, LayerScale2d):
            nn.init.normal_(module.gamma, std=0.5)
    student.train()(torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8))
    return student.network.eval().double()


def modules(graph: fx.GraphModule, kinds) -> list[nn.Module]:
    return [module for module in graph.modules() if isinstance(module, kinds)]


def calls(graph: fx.GraphModule, function) -> list[fx.Node]:
    return [node for node in graph.graph.nodes if node.target is function]


def constant(node: fx.Node) -> bool:
    return isinstance(node.args[1], float)


@pytest.mark.parametrize("head", ["dwsconv", "stock"])
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_every_pass_is_exact_on_every_family(name, head):
    original = network(name, head)
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64) * 2 - 1
    want = original(images)
    for passes in (FLOAT, INTEGER):
        graph = trace(original)
        for change in passes:
            apply(change, graph)
            assert (graph(images) - want).abs().max() <= 1e-9 * want.abs().max(), change.__name__
    assert torch.equal(original(images), want), "the student itself was changed"


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_folding_alone_is_exact_and_leaves_no_norm_behind_a_convolution(name):
    original = network(name)
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64) * 2 - 1
    graph = folded(original)
    want = original(images)
    assert (graph(images) - want).abs().max() <= 1e-9 * want.abs().max()
    for node in graph.graph.nodes:
        if node.op == "call_module" and isinstance(graph.get_submodule(node.target), nn.BatchNorm2d):
            before = node.args[0]
            assert before.op != "call_module" or not isinstance(graph.get_submodule(before.target), nn.Conv2d)
    swishes = len(modules(original, HARD_SWISHES))
    assert len(modules(graph, HARD_SWISHES)) == swishes, "activations stay as they are"


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "mobilenetv3_large_100", "tf_mobilenetv3_small_075"])
def test_no_constant_of_mobilenetv3_keeps_an_operator(name):
    """Squeeze-excite: one product a block. Hard-swish: a sum and a product, where three were."""
    original = network(name, "dwsconv")
    swishes = len([m for m in original.modules() if isinstance(m, HARD_SWISHES)])
    gates = len([m for m in original.modules() if isinstance(m, HARD_SIGMOIDS)])
    assert differ(original)
    graph = phone_safe(original, integer=True)
    assert not modules(graph, (*HARD_SWISHES, *HARD_SIGMOIDS, nn.BatchNorm2d))
    assert not any(constant(node) for node in calls(graph, operator.mul))
    assert len(calls(graph, operator.mul)) == swishes + gates
    assert sum(constant(node) for node in calls(graph, operator.add)) == swishes
    kept = phone_safe(original, integer=False)
    assert (
        len(
            [
                n
                for n in kept.graph.nodes
                if n.op == "call_module" and isinstance(kept.get_submodule(n.target), HARD_SWISHES)
            ]
        )
        == swishes
    )
    assert len(calls(kept, operator.mul)) == gates and not any(map(constant, calls(kept, operator.add)))


def test_the_hybrid_has_no_norm_and_no_scale_left():
    graph = phone_safe(network("mobilenetv4_hybrid_medium"))
    assert not modules(graph, (nn.BatchNorm2d, BatchNormAct2d, LayerScale2d, MultiQueryAttention2d))
    assert not modules(graph, HARD_SWISHES)


# --- pass by pass, on networks that try them -------------------------------------------------------

SETTINGS = settings(max_examples=25, deadline=None, derandomize=True)
SIDE = 6


def check(module: nn.Module, *passes, exact: float = 1e-9) -> fx.GraphModule:
    """Apply passes to a graph of `module`, and hold it against `module`."""
    module = module.double().eval()
    graph = trace(module)
    for change in passes:
        apply(change, graph)
    x = torch.randn(2, 4, SIDE, SIDE, dtype=torch.float64) * 3
    with torch.no_grad():
        want = module(x)
        assert torch.allclose(graph(x), want, rtol=exact, atol=exact)
    return graph


def random_norm(channels: int = 4) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(norm.running_var, 0.1, 3)
    return norm


@SETTINGS
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([1, 3]), st.sampled_from([1, 2, 4]))
def test_fold_batch_norm(seed, bias, kernel, groups):
    torch.manual_seed(seed)
    conv = nn.Conv2d(4, 4, kernel, padding=kernel // 2, groups=groups, bias=bias)
    graph = check(nn.Sequential(conv, random_norm(), nn.ReLU(), random_norm(), conv), fold_batch_norm)
    assert not modules(graph, nn.BatchNorm2d)


class Branches(nn.Module):
    """A batch norm whose convolution is read elsewhere too, and so must keep its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.scale = nn.Conv2d(4, 4, 1), random_norm(), LayerScale2d(4, 0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return self.norm(x) + self.scale(x) + x


def test_a_convolution_with_two_readers_keeps_its_weights():
    graph = check(Branches(), fold_batch_norm, fold_layer_scale)
    assert modules(graph, LayerScale2d) and not modules(graph, nn.BatchNorm2d)


@pytest.mark.parametrize("before", [nn.ReLU(), nn.ReLU6(), nn.Sequential(nn.ReLU(), nn.Identity()), nn.SiLU()])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (2, 1, 1), (5, 1, 2), ((3, 5), (1, 2), (1, 2))])
def test_a_max_pool_pads_with_what_integers_have(before, kernel, stride, padding):
    pool = nn.MaxPool2d(kernel, stride, padding)
    network = nn.Sequential(nn.Conv2d(4, 4, 1), before, pool)
    graph = check(network, pad_before_max_pool)
    assert pool.padding == padding and [each.padding for each in modules(graph, nn.MaxPool2d)] == [0]
    assert len(modules(graph, nn.ZeroPad2d)) == (not isinstance(before, nn.SiLU))


@SETTINGS
@given(st.sampled_from([2, 3, (1, 2), (2, 1)]), st.booleans(), st.integers(4, 9))
def test_a_strided_point_gets_a_second_row_of_zeros(stride, bias, side):
    point = nn.Conv2d(4, 6, 1, stride, bias=bias)
    assert differ(point)
    graph = check(nn.Sequential(nn.ZeroPad2d((0, side - SIDE, 0, side - SIDE)), point), lengthen_strided_points)
    assert [each.kernel_size for each in modules(graph, nn.Conv2d)] == [(2, 1)] and not differ(graph)


@pytest.mark.parametrize("conv", [nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, 2, groups=2), nn.Conv2d(4, 4, 3, 2)])
def test_other_convolutions_keep_their_kernel(conv):
    graph = check(nn.Sequential(conv), lengthen_strided_points)
    assert not is_strided_point(conv) and modules(graph, nn.Conv2d)[0].kernel_size == conv.kernel_size


@pytest.mark.parametrize("pool", [nn.MaxPool2d(3, 2), nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.MaxPool2d(2, 2, 1, 2)])
def test_other_max_pools_stay(pool):
    [after] = modules(check(nn.Sequential(nn.Conv2d(4, 4, 1), pool), pad_before_max_pool), nn.MaxPool2d)
    assert after.padding == pool.padding


class _Unit(nn.Module):
    def __init__(self, **how):
        super().__init__()
        self.how = how

    def forward(self, x):
        return functional.normalize(x, **self.how)


@pytest.mark.parametrize("how", [{}, {"dim": -1}, {"p": 2, "dim": 2, "eps": 0.5}])
def test_a_division_by_a_norm_is_a_product(how):
    graph = check(nn.Sequential(nn.Conv2d(4, 4, 1), _Unit(**how)), spell_normalize)
    assert functional.normalize not in {node.target for node in graph.graph.nodes}


def test_other_norms_stay():
    graph = check(nn.Sequential(nn.Conv2d(4, 4, 1), _Unit(p=1.0)), spell_normalize)
    assert functional.normalize in {node.target for node in graph.graph.nodes}


def test_nothing_divided_by_its_norm_is_nothing():
    graph = trace(nn.Sequential(nn.Identity(), _Unit()))
    apply(spell_normalize, graph)
    assert graph(torch.zeros(1, 4, 2, 2)).tolist() == torch.zeros(1, 4, 2, 2).tolist()


@pytest.mark.parametrize("between", [nn.Identity, nn.Dropout])
def test_fold_layer_scale(between):
    scale = LayerScale2d(4)
    nn.init.normal_(scale.gamma)
    assert not modules(check(nn.Sequential(nn.Conv2d(4, 4, 1), between(), scale), fold_layer_scale), LayerScale2d)


@pytest.mark.parametrize("kind", [nn.Hardsigmoid, HardSigmoid])
def test_hard_sigmoid_after_a_convolution_is_a_clamp(kind):
    graph = check(nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), kind()), spell_hard_sigmoid, fold_shift)
    assert len(calls(graph, functional.relu6)) == 1 and not calls(graph, operator.add)


@pytest.mark.parametrize("kind", [nn.Hardswish, HardSwish])
def test_hard_swish_needs_its_shift(kind):
    graph = check(nn.Sequential(nn.Conv2d(4, 4, 1), kind()), spell_hard_swish, fold_shift)
    assert len(calls(graph, operator.add)) == 1


class Shortcut(nn.Module):
    """Hard-swish added to what its convolution makes, as in MobileNetV3-large's first block."""

    def __init__(self, other: nn.Module) -> None:
        super().__init__()
        self.act, self.conv, self.other, self.last = (
            nn.Hardswish(),
            nn.Conv2d(4, 4, 3, padding=1),
            other,
            nn.Conv2d(4, 2, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(x)
        return self.last(self.other(self.conv(x)) + x)


@pytest.mark.parametrize("other", [nn.Identity(), nn.Dropout(0.5)])
def test_a_factor_goes_round_a_shortcut(other):
    graph = check(Shortcut(other), spell_hard_swish, sink_factors)
    assert not any(map(constant, calls(graph, operator.mul)))


ENDS = {
    "the output": nn.Identity(),
    "a sigmoid": nn.Sigmoid(),
    "another clamp": nn.ReLU6(),
    "a norm": random_norm(),
    "a shortcut from elsewhere": Shortcut(nn.Tanh()),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_factor_that_cannot_go_is_multiplied_first(end):
    """Where (x · relu6(x + 3)) · 1/6 stays as it is, the converter fuses it into HARD_SWISH."""
    act = ENDS[end] if isinstance(ENDS[end], Shortcut) else nn.Sequential(nn.Hardswish(), ENDS[end])
    graph = check(act, spell_hard_swish, sink_factors)
    products = calls(graph, operator.mul)
    assert [constant(node) for node in products] == [True, False] and products[0] in products[1].args


class Square(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act, self.conv = nn.Hardswish(), nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(x)
        return self.conv(x * x.mean((2, 3), keepdim=True))


def test_a_factor_that_would_come_in_squared_stays():
    graph = check(Square(), spell_hard_swish, sink_factors)
    assert any(map(constant, calls(graph, operator.mul)))


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    st.integers(0, 10**6), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2]), st.sampled_from([1, 2]), st.booleans()
)
def test_attention_is_timms(seed, heads, kv_stride, query_stride, bias):
    torch.manual_seed(seed)
    attention = MultiQueryAttention2d(
        4, 6, num_heads=heads, key_dim=8, value_dim=3, kv_stride=kv_stride, query_strides=query_stride, use_bias=bias
    )
    check(nn.Sequential(attention), fold_batch_norm)


@SETTINGS
@given(st.integers(0, 1000), st.booleans())
def test_separable_attention_is_timms(seed, bias):
    torch.manual_seed(seed)
    attention = LinearSelfAttention(4, bias=bias)
    graph = check(nn.Sequential(attention))
    assert not modules(graph, LinearSelfAttention) and len(modules(graph, nn.Conv2d)) == 4


def map_of(channels: int) -> Callable[[int, int], torch.Tensor]:
    return lambda height, width: torch.randn(2, channels, height, width)


def tokens(height: int, width: int) -> torch.Tensor:
    return torch.randn(2, height * width, 8)


class Positions(nn.Module):
    """Fourier positions of a map."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = PositionalEncodingFourier(4, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.positions(x[:, 0].shape)


BLOCKS = {
    "attention": (lambda: Attention(8, 2, qkv_bias=True), tokens),
    "attention with everything": (
        lambda: Attention(8, 2, 3, 10, qk_norm=True, scale_norm=True, gated=True, norm_layer=nn.LayerNorm),
        tokens,
    ),
    "FastViT's": (lambda: fastvit.Attention(8, 4, qkv_bias=True), map_of(8)),
    "EdgeNeXt's": (lambda: CrossCovarianceAttn(8, 2, qkv_bias=True), tokens),
    "EdgeNeXt's positions": (Positions, map_of(8)),
    "EfficientViT's": (
        lambda: LocalWindowAttention(8, 4, 2, attn_ratio=1, resolution=9, window_resolution=4, kernels=(3, 3)),
        map_of(8),
    ),
    "TinyViT's": (lambda: TinyVitBlock(8, 2, window_size=4), lambda height, width: torch.randn(2, height, width, 8)),
    "MobileViT's": (
        lambda: MobileVitBlock(8, patch_size=2, num_heads=2, transformer_dim=8, transformer_depth=1),
        map_of(8),
    ),
    "MobileViTv2's": (lambda: MobileVitV2Block(8, patch_size=2, transformer_dim=8, transformer_depth=1), map_of(8)),
    "group norm": (lambda: nn.GroupNorm(2, 8), map_of(8)),
    "group norm without weights": (lambda: nn.GroupNorm(1, 8, affine=False), map_of(8)),
}


def block(name: str, seed: int) -> nn.Module:
    """timm's, with weights that do something."""
    torch.manual_seed(seed)
    network = nn.Sequential(BLOCKS[name][0]()).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5)
    return network


@pytest.mark.parametrize("name", BLOCKS)
@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(0, 1000), st.integers(1, 9), st.integers(1, 9))
@torch.no_grad()
def test_a_respelled_block_is_timms(name, seed, height, width):
    network = block(name, seed)
    ours, images = phone_safe(network, integer=False), BLOCKS[name][1](height, width)
    torch.testing.assert_close(ours(images), network(images))


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_has_no_more_dimensions_than_a_phones_gpu(name):
    ours = phone_safe(block(name, 0), integer=False)
    program = torch.export.export(ours, (BLOCKS[name][1](5, 7)[:1],))
    tensors = [node.meta.get("val") for node in program.graph.nodes]
    assert max(each.dim() for each in tensors if isinstance(each, torch.Tensor)) <= 4


def test_what_stands_for_a_module_has_what_stands_for_its_parts():
    graph = phone_safe(block("MobileViTv2's", 0))
    assert modules(graph, PatchBlock) and len(modules(graph, PlainGroupNorm)) == 3
    assert not modules(graph, (nn.GroupNorm, MobileVitV2Block, LinearSelfAttention))


def test_attention_ends_in_a_product_of_rows():
    """Of more dimensions, a phone's NPU takes wrong rows: tests/export/npu/test_kernels.py."""
    program = torch.export.export(phone_safe(block("attention", 0)), (tokens(4, 4),))
    last = [node for node in program.graph.nodes if node.target is torch.ops.aten.linear.default][-1]
    assert last.args[0].meta["val"].dim() == 2
