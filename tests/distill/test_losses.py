"""Every loss against an independent formula on fixed numbers, its gradient, and what it must not be sensitive to."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import null_space
from scipy.spatial.distance import cosine

from attar.distill.checks import require_comparisons
from attar.distill.losses import LOSSES, loss_named, objective_of
from attar.distill.losses.attention import attention
from attar.distill.losses.base import UNKNOWN, attention_map, coarser, resampled, whitened
from attar.distill.losses.beyond import Residual, beyond
from attar.distill.losses.crd import crd
from attar.distill.losses.dist import dist
from attar.distill.losses.dkd import dkd
from attar.distill.losses.feature import feature
from attar.distill.losses.focal import focal
from attar.distill.losses.hard import hard
from attar.distill.losses.kd import kd
from attar.distill.losses.ldi import ldi
from attar.distill.losses.rkd import rkd
from attar.errors import InputError
from attar.recipe import DistillSpec

PHOTOS, CLASSES = 5, 4
RNG = np.random.default_rng(7)
S, T = (RNG.normal(size=(PHOTOS, CLASSES)) * 2 for _ in range(2))
LABELS = np.array([0, 2, 3, 2, 1])
POOLED_S, POOLED_T = RNG.normal(size=(PHOTOS, 6)), RNG.normal(size=(PHOTOS, 4))
MAP_S, MAP_T = RNG.normal(size=(PHOTOS, 3, 2, 2)), RNG.normal(size=(PHOTOS, 3, 2, 2))


def tensor(values: np.ndarray, grad: bool = False) -> torch.Tensor:
    return torch.from_numpy(values.copy()).requires_grad_(grad)


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    e = np.exp(logits / temperature)
    return e / e.sum(1, keepdims=True)


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 3.0, 10.0])
def test_kd(temperature: float) -> None:
    p, q = softmax(T, temperature), softmax(S, temperature)
    expected = temperature**2 * (p * np.log(p / q)).sum(1).mean()
    assert float(kd(tensor(S), tensor(T), temperature)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("alpha", "beta", "temperature"), [(1.0, 8.0, 4.0), (0.0, 1.0, 1.0), (2.0, 0.0, 2.0)])
def test_dkd(alpha: float, beta: float, temperature: float) -> None:
    expected = 0.0
    for p, q, target in zip(softmax(T, temperature), softmax(S, temperature), LABELS):
        two = sum(a * np.log(a / b) for a, b in [(p[target], q[target]), (1 - p[target], 1 - q[target])])
        p_rest, q_rest = (np.delete(x, target) / (1 - x[target]) for x in (p, q))
        expected += alpha * two + beta * (p_rest * np.log(p_rest / q_rest)).sum()
    expected *= temperature**2 / PHOTOS
    ours = dkd(tensor(S), tensor(T), tensor(LABELS), alpha, beta, temperature)
    assert float(ours) == pytest.approx(expected, rel=1e-9)


def test_dkd_is_kd_taken_apart() -> None:
    """Equation 6: with alpha 1 and each photo's beta at 1 - p(target), the two are one."""
    for row, target in enumerate(LABELS):
        beta = float(1 - softmax(T)[row, target])
        s, t = tensor(S[row : row + 1]), tensor(T[row : row + 1])
        assert float(dkd(s, t, tensor(LABELS[row : row + 1]), 1.0, beta, 1.0)) == pytest.approx(float(kd(s, t, 1.0)))


@pytest.mark.parametrize(("beta", "gamma", "temperature"), [(2.0, 2.0, 1.0), (1.0, 0.0, 4.0), (0.0, 1.0, 4.0)])
def test_dist(beta: float, gamma: float, temperature: float) -> None:
    s, t = softmax(S, temperature), softmax(T, temperature)
    inter = 1 - np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(s, t)])
    intra = 1 - np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(s.T, t.T)])
    expected = temperature**2 * (beta * inter + gamma * intra)
    assert float(dist(tensor(S), tensor(T), beta, gamma, temperature)) == pytest.approx(expected, rel=1e-9)


def test_hard() -> None:
    expected = -np.log(softmax(S)[np.arange(PHOTOS), T.argmax(1)]).mean()
    assert float(hard(tensor(S), tensor(T))) == pytest.approx(expected, rel=1e-9)
    smoothed = 0.9 * expected - 0.1 * np.log(softmax(S)).mean()
    assert float(hard(tensor(S), tensor(T), 0.1)) == pytest.approx(smoothed, rel=1e-9)


@pytest.mark.parametrize("distance", ["kl", "logits"])
@pytest.mark.parametrize(("alpha", "beta", "temperature"), [(1.0, 5.0, 3.0), (0.0, 1.0, 1.0), (2.0, 0.0, 10.0)])
def test_focal(distance: str, alpha: float, beta: float, temperature: float) -> None:
    labels = LABELS.copy()
    labels[0], labels[1:3] = UNKNOWN, T.argmax(1)[1:3]  # one that cannot be right, two that are
    expected = 0.0
    for s, t, label in zip(S, T, labels):
        p, q = softmax(t[None], temperature)[0], softmax(s[None], temperature)[0]
        apart = temperature**2 * (p * np.log(p / q)).sum() if distance == "kl" else ((s - t) ** 2).mean()
        expected += (alpha + (beta if t.argmax() == label else 0)) * apart / PHOTOS
    ours = focal(tensor(S), tensor(T), tensor(labels), alpha, beta, distance, temperature)
    assert float(ours) == pytest.approx(expected, rel=1e-9)


def test_the_papers_temperature_is_half_the_variance_of_the_logits_differences() -> None:
    gap = (S - T) - (S - T).mean(1, keepdims=True)
    ours = focal(tensor(S), tensor(T), tensor(LABELS), 1.0, 0.0, temperature=1e4)
    assert float(ours) == pytest.approx((gap**2).mean() / 2, rel=1e-3)


@pytest.mark.parametrize(("top", "margin"), [(1, 0.0), (2, 0.5), (3, 0.0), (10, 1.5)])
def test_ldi(top: int, margin: float) -> None:
    costs = []
    for s, t in zip(S, T):
        for likely in np.argsort(-t)[:top]:
            costs.append(max(0.0, abs(s[likely] - t[likely]) - margin) ** 2)
    assert float(ldi(tensor(S), tensor(T), top, margin)) == pytest.approx(np.mean(costs), rel=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 8), st.floats(0, 3), st.floats(-30, 30))
def test_what_losses_against_flips_never_do(seed: int, photos: int, classes: int, margin: float, offset: float) -> None:
    rng = np.random.default_rng(seed)
    s, t = (torch.from_numpy(rng.normal(size=(photos, classes)) * 5) for _ in range(2))
    labels = torch.from_numpy(rng.integers(-1, classes, photos))
    everywhere, none = torch.full((photos,), UNKNOWN), torch.zeros(())
    for distance in ("kl", "logits"):
        assert focal(s, t, labels, distance=distance) >= -1e-9
        assert focal(t, t, labels, distance=distance) == pytest.approx(0, abs=1e-9)
        assert focal(s, t, everywhere, 0.0, 5.0, distance) == none, "a photo that cannot be right weighs alpha"
        assert focal(s, t, t.argmax(1), 1.0, 5.0, distance) == pytest.approx(float(focal(s, t, labels, 6, 0, distance)))
    torch.testing.assert_close(focal(s + offset, t, labels), focal(s, t, labels))
    assert ldi(t, t, margin=margin) == none and ldi(s, t, margin=margin) <= ldi(s, t)
    inside = t + margin * torch.from_numpy(rng.uniform(-1, 1, t.shape))
    assert ldi(inside, t, margin=margin) == pytest.approx(0, abs=1e-12)
    unlikely = t.argmin(1)
    if classes > 1:  # what the least likely class does is free
        moved = t.clone()
        moved[torch.arange(photos), unlikely] += 100
        assert ldi(moved, t, top=classes - 1) == none < ldi(moved, t, top=classes)


def test_feature() -> None:
    dots = (MAP_S * MAP_T).sum(1) / np.sqrt((MAP_S**2).sum(1) * (MAP_T**2).sum(1))
    assert float(feature(tensor(MAP_S), tensor(MAP_T))) == pytest.approx(1 - dots.mean(), rel=1e-9)
    gap = np.abs(MAP_S - MAP_T)
    expected = np.where(gap < 0.5, gap**2 / (2 * 0.5), gap - 0.5 / 2).mean()
    assert float(feature(tensor(MAP_S), tensor(MAP_T), "smooth_l1", 0.5)) == pytest.approx(expected, rel=1e-9)


def test_attention() -> None:
    def unit(maps: np.ndarray) -> np.ndarray:
        q = (maps**2).sum(1).reshape(PHOTOS, -1)
        return q / np.sqrt((q**2).sum(1, keepdims=True))

    expected = ((unit(MAP_S) - unit(MAP_T)) ** 2).sum(1).mean()
    ours = attention(attention_map(tensor(MAP_S)), attention_map(tensor(MAP_T)))
    assert float(ours) == pytest.approx(expected, rel=1e-9)


def test_attention_on_two_grids() -> None:
    """Both are brought to unit length on the grid where they meet."""
    fine, coarse = np.abs(RNG.normal(size=(PHOTOS, 4, 6))), np.abs(RNG.normal(size=(PHOTOS, 2, 3)))
    pooled = fine.reshape(PHOTOS, 2, 2, 3, 2).mean((2, 4))
    a, b = (x.reshape(PHOTOS, -1) / np.sqrt((x**2).sum((1, 2)))[:, None] for x in (pooled, coarse))
    expected = pytest.approx(((a - b) ** 2).sum(1).mean(), rel=1e-9)
    assert float(attention(tensor(fine), tensor(coarse))) == expected == float(attention(tensor(coarse), tensor(fine)))


def huber(gap: float) -> float:
    return gap**2 / 2 if abs(gap) < 1 else abs(gap) - 0.5


def test_rkd() -> None:
    def distances(x: np.ndarray) -> np.ndarray:
        apart = np.array([[np.linalg.norm(a - b) for b in x] for a in x])
        return apart / apart[~np.eye(len(x), dtype=bool)].mean()

    def angle(x: np.ndarray, i: int, j: int, k: int) -> float:
        a, b = x[i] - x[j], x[k] - x[j]
        lengths = np.linalg.norm(a) * np.linalg.norm(b)
        return float(a @ b / lengths) if lengths else 0.0

    everyone = range(PHOTOS)
    pairs = np.mean([huber(g) for g in (distances(POOLED_S) - distances(POOLED_T)).ravel()])
    triplets = np.mean(
        [
            huber(angle(POOLED_S, i, j, k) - angle(POOLED_T, i, j, k))
            for i in everyone
            for j in everyone
            for k in everyone
        ]
    )
    s, t = tensor(POOLED_S), tensor(POOLED_T)
    assert float(rkd(s, t, 1.0, 0.0)) == pytest.approx(pairs, rel=1e-9)
    assert float(rkd(s, t, 0.0, 1.0)) == pytest.approx(triplets, rel=1e-9)
    assert float(rkd(s, t)) == pytest.approx(25 * pairs + 50 * triplets, rel=1e-9)


@pytest.mark.parametrize("labels", [LABELS, np.full(PHOTOS, UNKNOWN)], ids=["labels", "none"])
def test_crd(labels: np.ndarray) -> None:
    s, t = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (POOLED_S[:, :4], POOLED_T))
    expected = 0.0
    for anchors, others in ((s, t), (t, s)):
        for i in range(PHOTOS):
            # Photos 1 and 3 share a label: neither is a counterexample to the other.
            allowed = [j for j in range(PHOTOS) if j == i or labels[i] == UNKNOWN or labels[i] != labels[j]]
            scores = {j: np.exp(anchors[i] @ others[j] / 0.07) for j in allowed}
            expected -= np.log(scores[i] / sum(scores.values())) / (2 * PHOTOS)
    ours = crd(tensor(POOLED_S[:, :4]), tensor(POOLED_T), tensor(labels))
    assert float(ours) == pytest.approx(expected, rel=1e-9)


# --- beyond: what the features hold beyond the classes ---------------------------------------------

FEATURES = RNG.normal(size=(60, 8)) * np.geomspace(10, 0.1, 8) + 3
OF_CLASS = np.arange(60) % 4
FEATURES += 5 * RNG.normal(size=(4, 8))[OF_CLASS]


def fitted(features: np.ndarray, labels: np.ndarray, classes: int) -> tuple[Residual, float]:
    residual = Residual(features.shape[1], classes).double()
    return residual, residual.fit(tensor(features), tensor(labels))


def class_means(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.stack([features[labels == label].mean(0) for label in np.unique(labels)])


def test_beyond_is_what_least_squares_leave() -> None:
    """Of numpy's least squares on the centred class means, and of scipy's basis of what is orthogonal to them."""
    residual, share = fitted(FEATURES, OF_CLASS, classes=4)
    centred = FEATURES - FEATURES.mean(0)
    directions = (class_means(FEATURES, OF_CLASS) - FEATURES.mean(0)).T
    left = centred.T - directions @ np.linalg.lstsq(directions, centred.T, rcond=1e-10)[0]
    others = null_space(directions.T, rcond=1e-10)
    assert others.shape == (8, 5)
    np.testing.assert_allclose(left.T, centred @ others @ others.T, atol=1e-9)
    np.testing.assert_allclose(residual(tensor(FEATURES)), left.T, atol=1e-9)
    assert share == pytest.approx((left**2).sum() / (centred**2).sum(), rel=1e-9)
    predicted = RNG.normal(size=FEATURES.shape)
    expected = np.mean([cosine(a, b) for a, b in zip(predicted, left.T)])
    assert float(beyond(tensor(predicted), residual(tensor(FEATURES)))) == pytest.approx(expected, rel=1e-9)


def test_the_papers_projection_goes_to_ours_as_its_ridge_vanishes() -> None:
    """Equations 6 and 7 of arXiv 2603.11269."""
    residual, _ = fitted(FEATURES, OF_CLASS, classes=4)
    u = (class_means(FEATURES, OF_CLASS) - FEATURES.mean(0)).T
    gaps = []
    for ridge in (1e-1, 1e-4):
        p = u @ np.linalg.inv(u.T @ u + ridge * np.eye(4)) @ u.T
        theirs = (FEATURES - FEATURES.mean(0)) @ (np.eye(8) - p)
        gaps.append(np.abs(residual(tensor(FEATURES)).numpy() - theirs).max())
    assert gaps[1] < 1e-4 and gaps[1] < gaps[0] / 100


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(6, 10))
def test_nothing_beyond_tells_the_classes(seed: int, classes: int, features: int) -> None:
    """The residuals have one mean for every class, zero; what lies in the classes' span leaves none."""
    rng = np.random.default_rng(seed)
    labels = np.r_[np.arange(classes), rng.integers(0, classes, 30)]
    values = rng.normal(size=(len(labels), features)) + rng.normal(size=(classes, features))[labels]
    residual, share = fitted(values, labels, classes)
    rest = residual(tensor(values)).numpy()
    np.testing.assert_allclose(class_means(rest, labels), 0, atol=1e-9)
    np.testing.assert_allclose(residual(tensor(class_means(values, labels))), 0, atol=1e-9)
    assert 0 < share <= 1 + 1e-12
    shift = rng.normal(size=(len(labels), 2)) @ (class_means(values, labels) - values.mean(0))[[0, -1]]
    np.testing.assert_allclose(residual(tensor(values + shift)), rest, atol=1e-9)


def test_beyond_takes_the_teachers_word_for_photos_without_a_label() -> None:
    loss = loss_named("beyond", {}, "here")
    shapes = {"pooled": (8,), "logits": (4,)}
    found = []
    for labels in (OF_CLASS, np.full(60, UNKNOWN)):
        projector = loss.projector(shapes, shapes)
        logits = np.eye(4)[OF_CLASS]
        loss.fit(projector, {"pooled": tensor(FEATURES), "logits": tensor(logits)}, tensor(labels))
        found.append(projector["residual"].span)
    assert found[0].abs().sum() > 0 and torch.equal(*found)


def test_beyond_refuses_a_teacher_that_has_nothing_beyond() -> None:
    loss = loss_named("beyond", {}, "here")
    with pytest.raises(InputError, match="features have 3 numbers, and the means of 4 classes"):
        loss.projector({"pooled": (6,)}, {"pooled": (3,), "logits": (4,)})
    projector = loss.projector({"pooled": (6,)}, {"pooled": (8,), "logits": (4,)})
    teacher = {"pooled": tensor(class_means(FEATURES, OF_CLASS)[OF_CLASS]), "logits": tensor(np.eye(4)[OF_CLASS])}
    with pytest.raises(InputError, match="hold nothing beyond the means of the classes"):
        loss.fit(projector, teacher, tensor(OF_CLASS))


# --- gradients and limits ------------------------------------------------------------------------

WHOLE = {
    "student": {"logits": S, "pooled": POOLED_S, "feature_map": RNG.normal(size=(PHOTOS, 6, 3, 2))},
    "teacher": {"logits": T, "pooled": POOLED_T, "feature_map": MAP_T, "attention": np.abs(MAP_T[:, 0])},
}
WHOLE["student"]["mid_features"] = RNG.normal(size=(PHOTOS, 5, 4, 4))
WHOLE["teacher"]["mid_features"] = RNG.normal(size=(PHOTOS, 7, 6, 5))


def batch(who: str, grad: bool = False) -> dict[str, torch.Tensor]:
    return {kind: tensor(values, grad) for kind, values in WHOLE[who].items()}


def learned_by(name: str) -> tuple[object, torch.nn.Module]:
    torch.manual_seed(0)
    loss = loss_named(name, {}, "here")
    shapes = [{kind: tuple(a.shape[1:]) for kind, a in batch(who).items()} for who in ("student", "teacher")]
    return loss, loss.projector(*shapes).double()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("labels", [LABELS, np.full(PHOTOS, UNKNOWN)], ids=["labels", "none"])
def test_the_gradient_reaches_the_student_and_what_is_learned(name: str, labels: np.ndarray) -> None:
    loss, projector = learned_by(name)
    student, teacher = batch("student", grad=True), batch("teacher")
    kinds, weights = loss.student, list(projector.parameters())
    teacher = {kind: teacher[kind] for kind in loss.teacher}  # it reads no more than it says

    def value(*inputs: torch.Tensor) -> torch.Tensor:
        return loss(dict(zip(kinds, inputs)), teacher, tensor(labels), projector)

    assert torch.autograd.gradcheck(value, [student[kind] for kind in kinds])
    value(*(student[kind] for kind in kinds)).backward()
    assert all(student[kind].grad.abs().sum() > 0 for kind in kinds)
    assert all(weight.grad.abs().sum() > 0 for weight in weights)


@pytest.mark.parametrize("name", ["kd", "dkd", "dist", "attention", "rkd", "focal", "ldi"])
def test_nothing_is_lost_where_the_student_is_the_teacher(name: str) -> None:
    loss, projector = learned_by(name)
    teacher = batch("teacher")
    teacher["attention"] = attention_map(teacher["feature_map"])
    assert float(loss(teacher, teacher, tensor(LABELS), projector)) == pytest.approx(0, abs=1e-9)
    assert float(loss(batch("student"), teacher, tensor(LABELS), projector)) > 1e-3


@pytest.mark.parametrize("name", LOSSES)
def test_finite_at_extremes(name: str) -> None:
    """Far-off logits, and photos that look all the same to the student: values and gradients."""
    loss, projector = learned_by(name)
    far = torch.tensor([[300.0, *[-300.0] * (CLASSES - 1)]] * PHOTOS)
    extreme = {"logits": far, "pooled": torch.zeros(PHOTOS, 6), "feature_map": torch.zeros(PHOTOS, 6, 3, 2)}
    extreme["mid_features"] = torch.zeros(PHOTOS, 5, 4, 4)
    student = {kind: value.requires_grad_() for kind, value in extreme.items()}
    teacher = {kind: value.float() for kind, value in batch("teacher").items()} | {
        "logits": -extreme["logits"].detach()
    }
    value = loss(student, teacher, tensor(LABELS), projector.float())
    value.backward()
    assert torch.isfinite(value) and all(torch.isfinite(student[kind].grad).all() for kind in loss.student)


def test_dkd_without_a_label_takes_the_teachers_word() -> None:
    loss, _ = learned_by("dkd")
    none, own = tensor(np.full(PHOTOS, UNKNOWN)), tensor(T.argmax(1))
    answers = [batch("student"), batch("teacher")]
    assert loss(*answers, none, torch.nn.Identity()) == loss(*answers, own, torch.nn.Identity())


@pytest.mark.parametrize(("name", "kind"), [("feature", "feature_map"), ("hint", "mid_features")])
def test_a_projector_learns_a_teacher_that_is_linear_in_the_student(name: str, kind: str) -> None:
    """It is there to bridge widths: it should bridge this one fully."""
    torch.manual_seed(0)
    loss = loss_named(name, {"metric": "smooth_l1"}, "here")
    student = torch.randn(16, 6, 4, 4)
    teacher = torch.einsum("nchw,dc->ndhw", student, torch.randn(3, 6))
    projector = loss.projector({kind: (6, 4, 4)}, {kind: (3, 4, 4)})
    optimizer = torch.optim.Adam(projector.parameters(), lr=0.05)
    for _ in range(300):
        value = loss({kind: student}, {kind: teacher}, torch.zeros(16), projector)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert value.item() < 1e-4


# --- grids ---------------------------------------------------------------------------------------

SIDES = st.tuples(st.integers(1, 16), st.integers(1, 16))


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, st.integers(0, 100))
def test_resampling(sides: tuple[int, int], grid: tuple[int, int], seed: int) -> None:
    maps = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, 3, *sides)))
    new = resampled(maps, grid)
    assert new.shape == (2, 3, *grid)
    assert torch.equal(resampled(maps, sides), maps)
    flat = torch.full((1, 1, *sides), 2.5, dtype=torch.float64)
    torch.testing.assert_close(resampled(flat, grid), flat.new_full((1, 1, *grid), 2.5))
    for side in (-1, -2):  # mirrored maps stay mirrored
        torch.testing.assert_close(resampled(maps.flip(side), grid), new.flip(side))
    assert new.min() >= maps.min() - 1e-9 and new.max() <= maps.max() + 1e-9
    torch.testing.assert_close(new.mean((2, 3)), maps.mean((2, 3)))


def test_resampling_averages_areas() -> None:
    ramp = torch.arange(6, dtype=torch.float64).expand(1, 1, 6, 6)
    torch.testing.assert_close(resampled(ramp, (1, 3))[0, 0], torch.tensor([[0.5, 2.5, 4.5]]).double())
    # Six into four: each covers one position and half of another.
    torch.testing.assert_close(resampled(ramp, (6, 4))[0, 0, 0], torch.tensor([1, 5, 10, 14]).double() / 3)
    torch.testing.assert_close(resampled(ramp.transpose(2, 3), (4, 6)), resampled(ramp, (6, 4)).transpose(2, 3))


def test_maps_meet_on_the_coarser_grid() -> None:
    assert coarser(torch.zeros(1, 1, 7, 3), torch.zeros(1, 1, 14, 2)) == (7, 2)
    fine, coarse = torch.randn(2, 3, 8, 8).double(), torch.randn(2, 3, 4, 4).double()
    assert feature(fine, coarse) == feature(resampled(fine, (4, 4)), coarse) == feature(coarse, fine)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 1e3), st.floats(-100, 100))
def test_whitening_and_attention_ignore_scale(scale: float, offset: float) -> None:
    maps = torch.from_numpy(np.random.default_rng(0).normal(size=(PHOTOS, 32, 2, 2)))
    white = whitened(maps * scale + offset)
    torch.testing.assert_close(white.mean(1), torch.zeros(PHOTOS, 2, 2, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(white.var(1, correction=0), torch.ones(PHOTOS, 2, 2).double(), atol=3e-3, rtol=0)
    torch.testing.assert_close(white, whitened(maps), atol=5e-3, rtol=0)
    torch.testing.assert_close(attention_map(maps * scale), attention_map(maps))
    torch.testing.assert_close(attention_map(maps).square().sum((1, 2)), torch.ones(PHOTOS, dtype=torch.float64))


# --- recipes -------------------------------------------------------------------------------------


def objective(**student: object) -> object:
    return objective_of(DistillSpec(**student))


def test_one_loss_or_several() -> None:
    default = objective()
    assert default.labels == pytest.approx(0.3) and default.kinds == ("logits",)
    assert [(w.weight, w.loss.model_dump()) for w in default.losses] == [(0.7, {"temperature": 3.0})]
    assert (
        objective(loss="dkd").losses[0].loss.temperature == 4.0
        and objective(temperature=5).losses[0].loss.temperature == 5
    )
    assert objective(label_weight=0).labels == 0 and objective(weight=1).labels == 0
    two = objective(losses=[{"name": "dkd", "weight": 0.7, "beta": 2}, {"name": "feature"}, {"name": "attention"}])
    assert two.labels == 1 and two.kinds == ("logits", "feature_map", "attention")
    assert [w.weight for w in two.losses] == [0.7, 1, 1] and two.losses[0].loss.beta == 2


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ({"loss": "kdd"}, r"student: loss 'kdd' is unknown \(kd, dkd.*Did you mean 'kd'"),
        ({"losses": [{"name": "kd"}, {"name": "featur"}]}, r"losses\.1: loss 'featur'.*Did you mean 'feature'"),
        ({"losses": [{"name": "dkd", "bta": 8}]}, r"losses\.0: loss 'dkd' has no option 'bta'.*Did you mean 'beta'"),
        ({"losses": [{"name": "attention", "beta": 8}]}, "no option 'beta' .it has none"),
        ({"losses": [{"name": "kd", "temperature": -1}]}, r"temperature: .*greater than 0 .found -1"),
        ({"losses": [{"name": "feature", "metric": "l2"}]}, "metric: .*'cosine' or 'smooth_l1'"),
        ({"loss": "feature", "temperature": 2}, "no option 'temperature'"),
    ],
)
def test_a_wrong_loss_is_named_before_training(student: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        objective(**student)


def test_the_table_of_methods_is_the_registry() -> None:
    """docs/methods.md: a row a loss, with what it reads of the teacher and its options' defaults."""
    text = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", text, re.MULTILINE))
    assert list(rows) == list(LOSSES)
    for name, loss in LOSSES.items():
        cells = [cell.strip() for cell in rows[name].split("|")]
        assert cells[1] == ", ".join(loss.teacher) and cells[2] == ", ".join(loss.student), name
        defaults = ", ".join(f"{key}: {field.default}" for key, field in loss.model_fields.items())
        assert cells[3] == (f"`{defaults}`" if defaults else "none"), name


@pytest.mark.parametrize(
    ("losses", "batch_size", "accumulate", "photos"),
    [
        ([{"name": "rkd"}], 2, 2, 1),
        ([{"name": "rkd"}], 4, 2, 2),
        ([{"name": "kd"}, {"name": "crd"}], 2, 2, 1),
        ([{"name": "dist"}], 4, 2, 2),
    ],
)
def test_losses_that_compare_photos_refuse_parts_with_too_few(
    losses: list[dict[str, object]], batch_size: int, accumulate: int, photos: int
) -> None:
    spec = DistillSpec.model_validate({"losses": losses, "batch_size": batch_size, "accumulate": accumulate})
    objective = objective_of(spec)
    with pytest.raises(InputError, match=rf"compares photos .* {photos} photo\(s\) in each"):
        require_comparisons(spec, objective, batch_size, taught=True)
    require_comparisons(spec, objective, batch_size, taught=False)
    require_comparisons(spec, objective, 3 * accumulate, taught=True)


@pytest.mark.parametrize("name", list(LOSSES))
def test_what_a_loss_asks_for_is_what_it_needs(name: str) -> None:
    """With so many photos a random student has a gradient; a loss that asks for more than one has none with fewer."""
    loss = LOSSES[name]()
    torch.manual_seed(0)

    def gradient(count: int) -> float:
        torch.manual_seed(count)
        shapes = {
            "logits": (5,),
            "pooled": (6,),
            "feature_map": (6, 2, 2),
            "mid_features": (6, 2, 2),
            "attention": (2, 2),
        }
        student = {kind: torch.randn(count, *shape, requires_grad=True) for kind, shape in shapes.items()}
        teacher = {kind: torch.randn(count, *shape) for kind, shape in shapes.items()}
        value = loss(student, teacher, torch.arange(count) % 5, loss.projector(shapes, shapes))
        value.backward()
        return sum(float(t.grad.abs().sum()) for t in student.values() if t.grad is not None)

    assert gradient(loss.photos) > 1e-3
    if loss.photos > 1 and name != "dist":  # of fewer photos its other half still learns
        assert not gradient(loss.photos - 1) > 1e-3


def test_dist_over_two_photos_says_nothing_of_the_photos() -> None:
    student = torch.randn(2, 5, requires_grad=True)
    dist(student, torch.randn(2, 5), beta=0.0).backward()
    assert student.grad is not None and float(student.grad.abs().max()) < 1e-4
