"""The families of timm's models that attar knows as students."""

from __future__ import annotations

from fnmatch import fnmatch

FAMILIES: dict[str, tuple[str, ...]] = {
    "MobileNetV1": ("mobilenetv1_*",),
    "MobileNetV2": ("mobilenetv2_*",),
    "MobileNetV3": ("mobilenetv3_*", "tf_mobilenetv3_*"),
    "MobileNetV4": ("mobilenetv4_*",),
    "EfficientNet-Lite": ("efficientnet_lite*", "tf_efficientnet_lite*"),
    "EfficientNet": ("efficientnet_b[01]", "tf_efficientnet_b[01]", "efficientnet_es*", "tf_efficientnet_es*"),
    "MnasNet": ("mnasnet_*", "semnasnet_*", "spnasnet_*"),
    "TinyNet": ("tinynet_*",),
    "LCNet": ("lcnet_*",),
    "FBNet": ("fbnetc_*", "fbnetv3_*"),
    "HardCoRe-NAS": ("hardcorenas_*",),
    "MixNet": ("mixnet_*", "tf_mixnet_*"),
    "RegNet": ("regnetx_00[2468]", "regnety_00[2468]"),
    "ResNet": ("resnet10t", "resnet14t", "resnet18", "resnet18d", "resnet26*", "resnet34*"),
    "GhostNet": ("ghostnet_*",),
    "GhostNetV2": ("ghostnetv2_*",),
    "GhostNetV3": ("ghostnetv3_*",),
    "RepVGG": ("repvgg_a[01]",),
    "RepViT": ("repvit_*",),
    "MobileOne": ("mobileone_*",),
    "FastViT": ("fastvit_*",),
    "EdgeNeXt": ("edgenext_*",),
    "EfficientFormer": ("efficientformer_*",),
    "EfficientFormerV2": ("efficientformerv2_*",),
    "EfficientViT (MIT)": ("efficientvit_b*",),
    "EfficientViT (MSRA)": ("efficientvit_m*",),
    "MobileViT": ("mobilevit_*",),
    "MobileViTV2": ("mobilevitv2_*",),
    "TinyViT": ("tiny_vit_5m*", "tiny_vit_11m*"),
    "ConvNeXt": ("convnext_atto*", "convnext_femto*", "convnext_pico*", "convnext_nano*"),
    "ConvNeXtV2": ("convnextv2_atto*", "convnextv2_femto*", "convnextv2_pico*", "convnextv2_nano*"),
    "StarNet": ("starnet_*",),
    "SwiftFormer": ("swiftformer_*",),
}
"""Family -> timm name patterns. Other models of timm are tried, with a warning."""


def family_of(name: str) -> str | None:
    """The family of a timm model, with or without a pretrained tag; None if it is of none of them."""
    architecture = name.partition(".")[0]
    fitting = (family for family, patterns in FAMILIES.items() if any(fnmatch(architecture, each) for each in patterns))
    return next(fitting, None)
