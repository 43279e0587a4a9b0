"""The table of every class against counting photo by photo."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from attar.answers import most_probable
from attar.benchmarks.report.per_class import every_class


@given(st.integers(1, 60), st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_every_class_is_counted(images: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    names = [f"class {i}" for i in range(classes)]
    rows = {name: most_probable([rng.random((images, classes))]) for name in ("teacher", "file")}
    every = every_class(rows, "file", labels, names)
    assert every.names == tuple(names[label] for label in sorted(set(labels.tolist())))
    for place, name in enumerate(every.names):
        inside = np.flatnonzero(labels == names.index(name))
        assert every.photos[place] == len(inside)
        for row, answers in rows.items():
            assert every.right[row][place] == sum(answers.best[i] == labels[i] for i in inside)
        wrong = Counter(int(rows["file"].best[i]) for i in inside if rows["file"].best[i] != labels[i])
        if not wrong:
            assert (every.taken_for[place], every.taken[place]) == ("", 0)
            continue
        most = min(wrong, key=lambda answer: (-wrong[answer], answer))
        assert (every.taken_for[place], every.taken[place]) == (names[most], wrong[most])
