"""Teachers that take no training: made of others, or of images and text."""

from __future__ import annotations

from pathlib import Path

from attar.bundle import Bundle, read_bundle
from attar.console import say
from attar.data.photos import Photos
from attar.errors import InputError
from attar.recipe import EnsembleSpec, ZeroShotSpec
from attar.teachers.context import FitContext, Fitted
from attar.teachers.create import create_zero_shot, load
from attar.teachers.ensemble import Ensemble
from attar.teachers.zero_shot import read_text_embeddings
from attar.train import distributed


def zero_shot(context: FitContext) -> Fitted:
    """A teacher that compares photos with the classes' names (`attar.teachers.zero_shot`)."""
    spec = context.spec
    assert isinstance(spec, ZeroShotSpec)
    text = read_text_embeddings(spec.text_embeddings, context.photos.labels)
    teacher = create_zero_shot(
        spec.name,
        text,
        pretrained=spec.pretrained,
        checkpoint=spec.checkpoint,
        options=spec.options,
        crop=spec.crop,
        fit=spec.fit,
        scale=spec.logit_scale,
        bias=spec.logit_bias,
    )
    return Fitted(teacher)


def ensemble(context: FitContext) -> Fitted:
    """Several teachers' bundles as one that holds them all (`attar.teachers.ensemble`)."""
    spec, photos = context.spec, context.photos
    assert isinstance(spec, EnsembleSpec)
    members = [read_bundle(Path(path), "teacher") for path in spec.members]
    for member in members:
        _refuse_other_labels(member, photos)
    distributed.agree({"the ensemble's members": [member.fingerprint for member in members]})
    teacher = Ensemble([load(member) for member in members], spec.weights or [1.0] * len(members))
    about = [
        {
            "name": member.name,
            "path": str(member.path.resolve()),
            "fingerprint": member.fingerprint,
            "weight": weight,
            "metrics": {k: v for k, v in member.metrics.items() if k != "history"},
        }
        for member, weight in zip(members, teacher.architecture["weights"])
    ]
    return Fitted(teacher, about={"members": about})


def _refuse_other_labels(member: Bundle, photos: Photos) -> None:
    """And tell of a member that may have been trained on what is held out here."""
    if member.labels != photos.labels:
        differing = sorted(set(member.labels) ^ set(photos.labels))
        what = f"other classes ({', '.join(map(repr, differing[:3]))})" if differing else "them in another order"
        raise InputError(
            f"{member.path}: this member of the ensemble was not made for the photos' {len(photos.labels)} classes: it "
            f"has {what}. Fit it to these photos with `attar teach`."
        )
    if member.provenance.get("data", {}).get("fingerprint") != photos.fingerprint:
        say(
            f"{member.path}: made from other photos, or split otherwise. If it was trained on some that are validation "
            "photos here, the ensemble's accuracy is flattered."
        )
