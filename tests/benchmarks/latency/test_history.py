"""Measurements are only added, databases merge without loss or doubles, the gate tells a regression from noise."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attar.benchmarks.latency.gate import Condition, from_history, judge, of_baseline, read_condition, require_runs
from attar.benchmarks.latency.history import History, device_key, opened
from attar.benchmarks.latency.record import Record
from attar.benchmarks.latency.session import Tracking, measurement, ratios
from attar.benchmarks.studies.coverage import BLOCK, series
from attar.errors import InputError

DEVICE = {"cpu": "a CPU", "machine": "x86_64", "cores": 2, "python": "3.11"}


def made(run: str = "r", target: str = "litert:int8", rounds: np.ndarray | None = None, **other: Any) -> Record:
    values = series("steady", np.random.default_rng(0), 40)[0] if rounds is None else rounds
    fields: dict[str, Any] = {
        "target": target,
        "file": "a.tflite",
        "sha256": "ab",
        "bytes": 7,
        "runtime": {"name": "LiteRT", "version": "2"},
        "device": DEVICE,
        "threads": 1,
        "measured": "2026-01-01T00:00:00+00:00",
        "warmup": 10,
        "samples": tuple(np.rint(values.ravel()).astype(int).tolist()),
        "load": (5,),
        "first": (7,),
        "peak_memory": None,
        "partitions": None,
        "run": run,
        "block": BLOCK,
    }
    return Record(**{**fields, **other})


def runs(count: int, pace: float = 1.0, spread: float = 0.02, seed: int = 0, **other: Any) -> list[Record]:
    """As many runs of one file, which differ by more than their own samples tell."""
    rng = np.random.default_rng(seed)
    return [
        made(f"{seed}-{n}", rounds=pace * np.exp(rng.normal(0, spread)) * series("steady", rng, 30)[0], **other)
        for n in range(count)
    ]


# --- the database --------------------------------------------------------------------------------


def test_what_is_added_comes_back_with_its_tags(tmp_path: Path) -> None:
    one, other = made("one"), made("other", "onnx:fp32", measured="2026-01-02T00:00:00+00:00")
    with opened(tmp_path / "new" / "lab.sqlite", create=True) as lab:
        assert lab.add([one], ["v1", "main"]) == 1 and lab.add([other]) == 1
        assert lab.add([one], ["v1"]) == 0  # the same measurement is there once
    with opened(tmp_path / "new" / "lab.sqlite") as lab:
        assert lab.records() == [one, other] and lab.records("v1") == [one] and lab.records("v2") == []
        assert lab.tags() == {"one": ["main", "v1"]}


def test_records_are_never_changed_or_removed(tmp_path: Path) -> None:
    with opened(tmp_path / "lab.sqlite", create=True) as lab:
        lab.add([made()])
    connection = sqlite3.connect(tmp_path / "lab.sqlite")
    for statement in ("DELETE FROM records", "UPDATE records SET content = '{}'"):
        with pytest.raises(sqlite3.IntegrityError, match="only added"):
            connection.execute(statement)


RUNS = st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from(["v1", "v2", None])), max_size=6)


def filled(path: Path, entries: list[tuple[str, str | None]]) -> Path:
    with opened(path, create=True) as lab:
        for run, tag in entries:
            lab.add([made(run), made(run, "litert:fp32")], [tag] if tag else [])
    return path


def content(lab: History) -> Any:
    return lab.records(), lab.tags()


@settings(max_examples=25, deadline=None)
@given(one=RUNS, other=RUNS)
def test_merging_loses_nothing_doubles_nothing_and_has_no_order(
    one: Any, other: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    filled(folder / "a", one), filled(folder / "b", other), filled(folder / "a2", one), filled(folder / "b2", other)
    with opened(folder / "a") as a, opened(folder / "b2") as b:
        a.merge(b)
        there = content(a)
        again = a.merge(b)
    with opened(folder / "b") as b, opened(folder / "a2") as a2:
        b.merge(a2)
        assert content(b) == there
    with opened(filled(folder / "all", [*one, *other])) as all_at_once:
        assert content(all_at_once) == there
    assert (again.records, again.tags) == (0, 0)


def _add(path: Path, first: int) -> None:
    with opened(path, create=True) as lab:
        for number in range(first, first + 10):
            lab.add([made(f"run {number}")], ["v1"])


def test_many_that_make_it_at_once_make_one(tmp_path: Path) -> None:
    """Each opens the same new file; sixty times, since what goes wrong takes an unlucky moment."""

    def opened_once(path: Path) -> int:
        barrier.wait()
        with opened(path, create=True) as lab:
            return len(lab.records())

    barrier = threading.Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        for number in range(60):
            assert list(pool.map(opened_once, [tmp_path / f"{number}.sqlite"] * 4)) == [0] * 4


def test_two_processes_add_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_add, args=(tmp_path / "lab.sqlite", first)) for first in (0, 100)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    with opened(tmp_path / "lab.sqlite") as lab:
        assert len(lab.records("v1")) == 20


@pytest.mark.parametrize("kind", ["text", "other", "newer", "damaged", "missing", "folder"])
def test_what_is_no_database_of_measurements_is_named_and_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "lab.sqlite"
    if kind == "text":
        path.write_text("no database at all, and long enough to be taken for a header" * 20)
    elif kind == "folder":
        path.mkdir()
    elif kind != "missing":
        filled(path, [("a", "v1")])
        connection = sqlite3.connect(path)
        if kind == "newer":
            connection.execute("PRAGMA user_version = 99")
        if kind == "other":
            path.unlink()
            connection = sqlite3.connect(path)
            connection.execute("CREATE TABLE songs (name)")
        if kind == "damaged":
            connection.execute("INSERT INTO records VALUES ('x', 'r', 's', 'd', 't', 'm', '{}')")
        connection.commit()
        connection.close()
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(InputError, match=r"lab\.sqlite|damaged"), opened(path, create=kind == "folder") as lab:
        lab.records()
    assert before == (path.read_bytes() if path.is_file() else None)


def test_a_device_stays_itself_when_its_software_is_updated() -> None:
    assert device_key(DEVICE) == device_key({**DEVICE, "python": "3.12", "load_average": [1, 2]})
    assert device_key(DEVICE) != device_key({**DEVICE, "cores": 4})


def test_a_file_is_found_where_it_was_measured_unless_it_changed(tmp_path: Path) -> None:
    from attar.files import sha256

    file = tmp_path / "a.tflite"
    file.write_bytes(b"one")
    digest = sha256(file)
    with opened(tmp_path / "lab.sqlite", create=True) as lab:
        lab.add([made(sha256=digest)], places=[file])
        assert lab.place(digest) == file.resolve()
        file.write_bytes(b"two")
        assert lab.place(digest) is None


# --- the gate ------------------------------------------------------------------------------------


@given(
    st.sampled_from(["p50", "p90", "p99", "size"]),
    st.decimals("0.01", "99", places=2),
    st.sampled_from(["x", " ×", "x "]),
)
def test_conditions_are_read_as_they_are_written(figure: str, limit: Any, times: str) -> None:
    condition = read_condition(f" {figure} >{limit}{times}baseline")
    assert condition == Condition(figure, float(limit)) == read_condition(str(condition))


@pytest.mark.parametrize("text", ["", "p50", "p50 < 1.1x baseline", "p51 > 1.1x", "p50 > x", "p50 > 0x", "p50 > 1.1"])
def test_what_is_no_condition_is_explained(text: str) -> None:
    with pytest.raises(InputError, match=r"p50 > 1\.10x baseline"):
        read_condition(text)


LIMIT = Condition("p50", 1.10)


def outcome(new: Record, baseline: list[Record], beside: Record | None = None) -> str:
    (judgement,) = judge(new, baseline, beside, [LIMIT])
    return judgement.outcome


@pytest.mark.parametrize("machine", ["steady", "wandering", "throttling"])
def test_side_by_side_a_regression_fails_and_the_same_file_passes(machine: str) -> None:
    slower = []
    for seed in range(20):
        first, second = series(machine, np.random.default_rng(seed), 40)
        baseline, same = made("now", rounds=first), made("now", rounds=second / 1.30)
        slow = made("now", rounds=second / 1.30 * 1.15)
        assert outcome(same, [made("before")], baseline) == "passed"
        slower.append(outcome(slow, [made("before")], baseline))
    assert slower.count("failed") >= 19


def test_from_history_noise_between_runs_passes_and_a_regression_fails() -> None:
    baseline = runs(6)
    assert all(outcome(new, baseline) == "passed" for new in runs(20, seed=1))
    assert all(outcome(new, baseline) == "failed" for new in runs(5, pace=1.3, seed=2))
    noisy = runs(4, spread=0.15)
    assert outcome(runs(1, pace=1.25, seed=3)[0], noisy) == "undecided"


def test_an_interval_from_history_holds_the_truth_as_often_as_it_promises() -> None:
    held = 0
    for seed in range(200):
        estimate = from_history(runs(1, seed=1000 + seed)[0], runs(4, seed=seed), "p50")
        held += estimate.low <= 1 <= estimate.high
    assert held >= 178  # 95% of 200, but for one in ten thousand


def test_sizes_are_exact() -> None:
    (judgement,) = judge(made(bytes=111), [made(bytes=100)], None, [Condition("size", 1.1)])
    assert (judgement.way, judgement.outcome) == ("exact", "failed")
    assert "size > 1.1x baseline" in str(judgement.to_json())


def test_without_a_condition_there_is_a_ratio_and_nothing_fails() -> None:
    (judgement,) = judge(runs(1, pace=3.0)[0], runs(3, seed=5), None, [])
    assert judgement.ratio.value == pytest.approx(3, rel=0.1) and judgement.outcome == "passed"


def test_a_baseline_that_cannot_be_compared_with_says_why() -> None:
    there = [made(device={**DEVICE, "cpu": "another CPU"})]
    for records, device, threads, why in [
        ([], DEVICE, 1, "no run has this tag"),
        (there, DEVICE, 1, "another CPU"),
        ([made()], DEVICE, 2, "--threads 1"),
    ]:
        with pytest.raises(InputError, match=why):
            of_baseline(records, "v1", device, threads, {"LiteRT"})
    with pytest.raises(InputError, match="measured in LiteRT, not in LiteRT CompiledModel"):
        of_baseline([made()], "v1", DEVICE, 1, {"LiteRT CompiledModel"})
    key = ("litert:int8", "LiteRT")
    with pytest.raises(InputError, match="at least 3 times"):
        require_runs({key: runs(2)}, [key], "v1")
    require_runs({key: runs(3)}, [key], "v1")


def test_only_the_same_runtime_is_a_baseline() -> None:
    records = [made(run=name, runtime={"name": name, "version": "2"}) for name in ("LiteRT", "LiteRT CompiledModel")]
    baseline = of_baseline(records, "v1", DEVICE, 1, {"LiteRT CompiledModel"})
    assert baseline == {("litert:int8", "LiteRT CompiledModel"): records[1:]}


def test_a_browser_is_known_by_what_it_tells_but_for_its_version() -> None:
    phone = {"kind": "browser", "os": "Android 14", "browser": "Chrome 150.0.1", "cores": 8, "gpu": "a GPU"}
    for change, same in [
        ({"browser": "Chrome 151.0"}, True),
        ({"os": "Android 15"}, True),
        ({"browser": "Firefox 150.0"}, False),
        ({"os": "iOS 18"}, False),
        ({"cores": 4}, False),
        ({"gpu": "another"}, False),
        ({"model": "a phone"}, False),
    ]:
        assert (device_key({**phone, **change}) == device_key(phone)) == same


# --- all of it, with real files ------------------------------------------------------------------


def test_precisions_are_held_against_fp32_of_the_same_run() -> None:
    first, second = series("drift", np.random.default_rng(0), 40)
    records = [made(target="litert:fp32", rounds=second), made(target="litert:int8", rounds=first)]
    (ratio,) = ratios([*records, made("another run")])
    assert ratio.estimate.low < 1 / 1.3 < ratio.estimate.high and "litert:int8 takes 0.7" in str(ratio)


def test_measured_kept_and_compared_side_by_side(small: Any, tmp_path: Path) -> None:
    lab = tmp_path / "lab.sqlite"
    first = measurement(small.exports, Tracking(lab, tag="v1"), seconds=0.2, output=tmp_path)
    second = measurement(
        small.exports,
        Tracking(lab, against="v1", fail_if=("p50 > 5x baseline", "size > 1.5x")),
        seconds=0.2,
        output=tmp_path,
    )
    assert [each.target for each in second.records] == ["litert:fp32", "onnx:fp32"]
    assert {(each.target, each.figure, each.way) for each in second.judgements} == {
        ("litert:fp32", "p50", "side by side"),
        ("litert:fp32", "size", "exact"),
        ("onnx:fp32", "p50", "side by side"),
        ("onnx:fp32", "size", "exact"),
    }
    assert not second.failed
    with opened(lab) as history:
        assert sorted(history.records("v1"), key=lambda record: record.target) == list(first.records)
        assert len(history.records()) == len(first.records) + len(second.records)
    value = second.to_json()
    assert "trusted" in value["verdict"]
    for record in value["records"]:
        interval = record["intervals"]["p50"]
        assert 0 <= interval["low"] <= interval["value"] and interval["value"] > 0


def test_a_baseline_whose_files_are_gone_needs_several_runs(small: Any, tmp_path: Path) -> None:
    lab = tmp_path / "lab.sqlite"
    gone = [replace(record, sha256="0" * 64) for record in small.records]
    with opened(lab, create=True) as history:
        history.add(gone, ["v1"])
    with pytest.raises(InputError, match="at least 3 times"):
        measurement(small.exports, Tracking(lab, against="v1"), seconds=0.2, output=tmp_path)
    with opened(lab) as history:
        for run in ("2", "3"):
            history.add([replace(record, run=run) for record in gone], ["v1"])
    measured = measurement(small.exports, Tracking(lab, against="v1"), seconds=0.2, output=tmp_path)
    assert {each.way for each in measured.judgements} == {"from history"}


def test_what_only_the_baseline_has_is_told_and_not_waited_for(
    small: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = tmp_path / "lab.sqlite"
    here = small.records[0]
    gone = replace(here, target="litert:w8", sha256="0" * 64)
    with opened(lab, create=True) as history:
        history.add([here, gone], ["v1"], [small.exports / here.file])
        history.add([replace(gone, run="other")], ["other"])
    measured = measurement(small.exports, Tracking(lab, against="v1"), seconds=0.1, output=tmp_path)
    assert {each.target for each in measured.judgements} == {here.target}
    assert "Only the baseline has litert:w8" in capsys.readouterr().err
    with pytest.raises(InputError, match="none of these"):
        measurement(small.exports, Tracking(lab, against="other"), seconds=0.1, output=tmp_path)


@pytest.mark.parametrize(
    ("options", "why"),
    [({"fail_if": ("p50 > 1.1x",)}, "--against"), ({"tag": "v1"}, "--history"), ({"against": "v1"}, "--history")],
)
def test_options_that_need_others(options: Any, why: str) -> None:
    with pytest.raises(InputError, match=why):
        Tracking(**options)


def test_a_bad_condition_is_found_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a condition"):
        measurement(tmp_path, Tracking(tmp_path / "lab.sqlite", against="v1", fail_if=("fast",)))
    assert not (tmp_path / "lab.sqlite").exists()


def test_the_slower_file_of_the_benchmark_runs_its_layer_more_often_and_still_computes(small: Any) -> None:
    from attar.benchmarks.latency.work import work_of
    from attar.benchmarks.runtimes import litert, some_image
    from attar.benchmarks.studies.regression import with_repeats

    path = small.exports / small.records[0].file
    slower = small.folder / "slower.tflite"
    slower.write_bytes(with_repeats(path.read_bytes(), 3))
    before, after = (work_of(each) for each in (path, slower))
    assert len(after) == len(before) + 3 and [each.name for each in after if each.name.startswith("repeat")]
    added = sum(each.macs for each in after) - sum(each.macs for each in before)
    assert added == 3 * next(each.macs for each in after if each.name == "repeat 0") > 0
    session = litert.load(str(slower), 1)
    session.set_input(some_image(session.shape))
    session.infer()
    probabilities = session._interpreter.get_tensor(session._interpreter.get_output_details()[0]["index"])
    assert probabilities.sum() == pytest.approx(1, abs=1e-3)
