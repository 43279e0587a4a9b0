"""Scores of familiarity against pytorch-ood's, on fixed features."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pytorch_ood.detector import GEN, RMD, EnergyBased, Mahalanobis, MaxSoftmax, ViM
from sklearn.metrics import roc_auc_score
from torch import nn

from attar.students.familiarity import SCORES, Known

CLASSES, FEATURES = 5, 24


def features(count: int, seed: int, away: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Clusters of features (count, FEATURES) >= 0, as a ReLU leaves them, `away` from where they belong; and labels."""
    fixed = torch.Generator().manual_seed(0)
    centres = 2 * torch.rand(CLASSES, FEATURES, generator=fixed)
    spread = 0.2 + torch.rand(FEATURES, generator=fixed)
    draws = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (count,), generator=draws)
    noise = torch.randn(count, FEATURES, generator=draws)
    moved = away * torch.rand(count, FEATURES, generator=draws)
    return (centres[labels] + spread * noise + moved).relu(), labels


@pytest.fixture(scope="module")
def classifier() -> nn.Linear:
    """A linear classifier of those clusters."""
    torch.manual_seed(0)
    layer = nn.Linear(FEATURES, CLASSES)
    pooled, labels = features(600, 1)
    optimizer = torch.optim.Adam(layer.parameters(), 0.05)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(layer(pooled), labels).backward()
        optimizer.step()
    return layer.requires_grad_(False)


def theirs(name: str, classifier: nn.Linear) -> Callable[[torch.Tensor], torch.Tensor]:
    """The same score by pytorch-ood, where larger is stranger: pooled features -> (N,)."""
    pooled, labels = features(600, 1)
    match name:
        case "probability":
            return lambda fresh: MaxSoftmax.score(classifier(fresh))
        case "gen":
            return lambda fresh: GEN.score(classifier(fresh))
        case "energy":
            return lambda fresh: EnergyBased.score(classifier(fresh))
        case "mahalanobis":
            return Mahalanobis(None).fit_features(pooled, labels).predict_features
        case "relative":
            return RMD(None).fit_features(pooled, labels).predict_features
        case "vim":
            made = ViM(None, FEATURES // 2, classifier.weight, classifier.bias)
            return made.fit_features(pooled, labels).predict_features
    raise KeyError(name)


def auroc(score: Callable[[torch.Tensor], torch.Tensor]) -> float:
    """How well a score, larger for the familiar, tells photos of the classes from others."""
    here, strange = features(400, 2)[0], features(400, 3, away=0.6)[0]
    truth = [1] * len(here) + [0] * len(strange)
    return float(roc_auc_score(truth, torch.cat([score(here), score(strange)])))


@pytest.mark.parametrize("name", [name for name in SCORES if name != "maxlogit"])
def test_it_is_pytorch_oods(name: str, classifier: nn.Linear) -> None:
    pooled, labels = features(600, 1)
    known = Known(classifier(pooled).amax(1), pooled, labels, classifier.weight, classifier.bias)
    score, reference = SCORES[name].fitted(known), theirs(name, classifier)
    ours = auroc(lambda fresh: score(classifier(fresh), fresh))
    assert ours == pytest.approx(auroc(lambda fresh: -reference(fresh)), abs=0.001) and ours != 0.5


def test_the_normalized_logit_is_the_papers_formula_and_knows_no_scale() -> None:
    logits = torch.randn(50, CLASSES, generator=torch.Generator().manual_seed(0))
    score = SCORES["maxlogit"]()
    centred = logits - logits.mean(1, keepdim=True)
    assert torch.allclose(score(logits, logits).flatten(), centred.amax(1) / centred.norm(4, dim=1))
    assert torch.allclose(score(10 * logits, logits), score(logits, logits))
    assert torch.isfinite(score(torch.zeros(1, CLASSES), logits)).all()


def test_far_features_are_strange_to_every_score_of_features(classifier: nn.Linear) -> None:
    pooled, labels = features(600, 1)
    known = Known(classifier(pooled).amax(1), pooled, labels, classifier.weight, classifier.bias)
    for name in ("mahalanobis", "relative", "vim"):
        score = SCORES[name].fitted(known)
        far = torch.full((1, FEATURES), 30.0) * (torch.arange(FEATURES) % 2)
        assert score(classifier(far), far) < score(classifier(pooled), pooled).min(), name
