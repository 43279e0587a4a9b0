"""Making a student by name, saving it as a bundle, and loading it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from attar import architectures
from attar.bundle import Bundle, read_bundle, rebuilding, write_bundle
from attar.console import say
from attar.errors import InputError, did_you_mean
from attar.preprocessing import Preprocessing
from attar.pretrained.files import load_weights, read_state_dict, unknown_model
from attar.pretrained.hub import create_pretrained
from attar.students.familiarity import Familiarity
from attar.students.families import FAMILIES, family_of
from attar.students.fold import fold_normalization
from attar.students.heads import STOCK, check_head, check_options, make_head
from attar.students.student import Student, WithHead


def create_student(
    name: str,
    num_classes: int,
    *,
    head: str = "dwsconv",
    pretrained: bool = False,
    checkpoint: Path | str | None = None,
    head_width: int = 512,
    head_options: Mapping[str, Any] | None = None,
    drop_rate: float = 0.1,
    activation: str = "stock",
) -> Student:
    """A student by timm name, its input normalization folded to the contract's `(x - 128) / 128`.

    Args:
        name: a timm model, with or without a pretrained tag; of none of `FAMILIES`, with a warning.
        num_classes: length of the logits.
        head: one of `attar.students.heads.HEADS`, or `stock` (timm's own).
        pretrained: take timm's weights from the hub (needs the network).
        checkpoint: take the backbone's weights from this local file instead.
        head_width: channels of a head that is not timm's own.
        head_options: other arguments of that head, such as `kernel_size`.
        drop_rate: dropout before the classifier, in [0, 1).
        activation: `stock` (timm's) or `relu`: ReLU wherever the backbone has hard-swish, GELU or ReLU6. Another
            function, so pretrained weights need fine-tuning under it; in return the phone fuses each ReLU into the
            convolution before it, where hard-swish costs int8 two more operators.

    Raises:
        InputError: unknown name, head, option or activation, or a checkpoint of another architecture.
    """
    check_name(name)
    check_head(head)
    check_options(head, head_options or {})
    if family_of(name) is None:
        say(f"Student {name}: of no family that attar was tested with (`attar students`). It is tried all the same.")
    if activation not in ("stock", "relu"):
        raise InputError(f"activation {activation!r}: choose stock or relu.")
    if num_classes < 1 or head_width < 1 or not 0 <= drop_rate < 1:
        raise InputError(
            f"student {name}: {num_classes} classes, head width {head_width} or drop rate {drop_rate} is out of range."
        )
    architecture = {
        "name": name,
        "num_classes": num_classes,
        "head": head,
        "head_width": head_width,
        "drop_rate": drop_rate,
        "activation": activation,
        **({"head_options": dict(head_options)} if head_options else {}),
    }
    return build(architecture, pretrained=pretrained, checkpoint=checkpoint)


def check_name(name: str) -> None:
    """Raise `InputError`, with close matches, unless `name` is a timm model's, and its tag one of timm's weights."""
    if not isinstance(name, str) or not timm.is_model(name):
        raise unknown_model(str(name), _supported(), "student")
    architecture, _, tag = name.partition(".")
    tags = {full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")}
    if tag and tag not in tags:
        raise InputError(
            f"student {name!r}: timm has no such weights.{did_you_mean(tag, tags)} "
            f"Known for {architecture}: {', '.join(sorted(tags)) or 'none'}."
        )


def build(
    architecture: Mapping[str, Any], *, pretrained: bool = False, checkpoint: Path | str | None = None
) -> Student:
    """The module that an architecture's plain data describes."""
    backbone = _create_timm(architecture, pretrained=pretrained and checkpoint is None)
    if architecture["head"] == STOCK and not (pretrained and _same_classes(backbone, architecture)):
        _soften_classifier(backbone)
    if checkpoint is not None:
        weights = read_state_dict(checkpoint)
        load_weights(backbone, weights, source=str(checkpoint), head=backbone.pretrained_cfg["classifier"])
    if pretrained or checkpoint is not None:
        config = backbone.pretrained_cfg
        fold_normalization(backbone, config["mean"], config["std"])
    network: nn.Module = backbone
    if architecture["head"] != STOCK:
        head = make_head(
            architecture["head"],
            backbone.num_features,
            architecture["num_classes"],
            architecture["head_width"],
            architecture["drop_rate"],
            architecture.get("head_options", {}),  # few bundles have any
        )
        _remove_stock_head(backbone, architecture)
        network = WithHead(backbone, head)
    return Student(network, dict(architecture))


def load(bundle: Bundle | Path | str) -> Student:
    """Rebuild a student from its bundle, in evaluation mode."""
    if not isinstance(bundle, Bundle):
        bundle = read_bundle(bundle, "student")
    if bundle.kind != "student":
        raise InputError(f"{bundle.path}: holds a {bundle.kind}, and a student is needed here.")
    weights = bundle.state_dict()
    with rebuilding(bundle):
        check_name(bundle.architecture["name"])  # it is as much a user's word as one on the command line
        student = build(bundle.architecture)
        student.familiarity = _familiarity(bundle.architecture, weights)
        student.load_state_dict(weights)
    return student.eval()


def _familiarity(architecture: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> Familiarity | None:
    """The familiarity that a student was saved with: what was fitted says the shapes."""
    if "familiarity" not in architecture:
        return None
    prefix = "familiarity."
    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    return Familiarity(architecture["familiarity"], own)


def save(
    student: Student,
    path: Path,
    *,
    labels: Sequence[str],
    preprocessing: Preprocessing,
    provenance: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Bundle:
    """Write a student as a bundle."""
    if len(labels) != student.architecture["num_classes"]:
        raise InputError(f"{len(labels)} labels for a student of {student.architecture['num_classes']} classes.")
    return write_bundle(
        path,
        kind="student",
        architecture={
            **student.architecture,
            **({"familiarity": student.familiarity.name} if student.familiarity else {}),
        },
        state_dict=student.state_dict(),
        labels=labels,
        preprocessing=preprocessing,
        provenance=provenance,
        metrics=metrics,
    )


def _create_timm(architecture: Mapping[str, Any], pretrained: bool) -> Any:
    name, options = architecture["name"], {key: architecture[key] for key in ("num_classes", "drop_rate")}
    if architecture.get("activation", "stock") == "relu":  # bundles of earlier versions do not say
        options["act_layer"] = "relu"
    if pretrained:
        return create_pretrained("student", name, **options)
    return architectures.create("student", name, **options)


def _same_classes(backbone: Any, architecture: Mapping[str, Any]) -> bool:
    return bool(backbone.pretrained_cfg["num_classes"] == architecture["num_classes"])


def _soften_classifier(backbone: Any) -> None:
    """Begin with logits near zero.

    timm draws a classifier's weights from +-1/sqrt(classes), whatever its inputs: two classes over 1,280 features
    begin with logits of +-15, and the network below learns to compensate for them before it learns anything else.
    torch's +-1/sqrt(features) depends on neither. A distilled model has two classifiers.
    """
    classifiers = backbone.get_classifier()
    for classifier in classifiers if isinstance(classifiers, tuple) else (classifiers,):
        for module in classifier.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.reset_parameters()


def _remove_stock_head(backbone: Any, architecture: Mapping[str, Any]) -> None:
    """Drop the parts that `forward_features` does not use, so that they are neither saved nor trained."""
    for name in _unused(architecture["name"].partition(".")[0]):
        setattr(backbone, name, nn.Identity())


@cache
def _unused(name: str) -> tuple[str, ...]:
    """The children of a timm model that its `forward_features` does not use, found by a pass without any numbers."""
    called: set[str] = set()
    with torch.device("meta"), torch.enable_grad():
        twin = architectures.create("student", name).eval()
        for path, module in twin.named_modules():
            module.register_forward_pre_hook(lambda _, __, path=path: called.add(path.partition(".")[0]))
        features = twin.forward_features(torch.zeros(1, *twin.pretrained_cfg.get("input_size", (3, 224, 224))))
        named = dict(twin.named_parameters())  # some are read without their module being called
        gradients = torch.autograd.grad(features.sum(), list(named.values()), allow_unused=True)
    used = {path.partition(".")[0] for path, gradient in zip(named, gradients) if gradient is not None}
    return tuple(child for child, _ in twin.named_children() if child not in called | used)


def check_size(student: Student, size: int) -> None:
    """Find out before any work whether a student takes images of `size` pixels.

    Raises:
        InputError: it does not.
    """
    training, name = student.training, student.architecture["name"]
    try:
        with torch.no_grad():
            outputs = student.eval().outputs(torch.zeros(1, 3, size, size))
        assert outputs["logits"].shape == (1, student.architecture["num_classes"])
    except Exception as error:  # models raise anything
        native = timm.get_pretrained_cfg(name)
        made_for = f" timm made it for {native.input_size[-1]} pixels." if native else ""
        raise InputError(
            f"student {name}: does not work on images of {size} pixels ({str(error).partition(chr(10))[0]}).{made_for} "
            f"Set student.size, take student.head: stock, or choose another student."
        ) from error
    finally:
        student.train(training)


def _supported() -> list[str]:
    patterns = [pattern for patterns in FAMILIES.values() for pattern in patterns]
    return list(dict.fromkeys(name for pattern in patterns for name in timm.list_models(pattern)))
