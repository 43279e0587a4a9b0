"""Release folders that a phone must not follow: genuine ones, changed in many ways, drawn by chance."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from attar.deploy.release.delta import delta_of
from attar.deploy.release.envelope import KIND, encoded, signed
from attar.deploy.release.keys import PrivateKey
from attar.files import json_text
from helpers.deltas import packed
from helpers.releasing import Answer, Cut, Endless, State

POINTER = "current.json"
BOUND = 4_000_000
"""Bytes of a pointer or a release that the page reads at most."""


@dataclass(frozen=True)
class Folders:
    """What the genuine folder was and is, and who may sign.

    Attributes:
        before: what the phone saw last.
        after: what a good host offers now: the next number, with another release.
        later: two numbers further, so that the phone goes through the history.
        key: trusted by the pointer that the phone saw last.
        stranger: trusted by none.
    """

    before: State
    after: State
    later: State
    key: PrivateKey
    stranger: PrivateKey


@dataclass(frozen=True)
class Hostile:
    """A folder, what is wrong with it, and what the page should call it."""

    kind: str
    state: State
    outcomes: tuple[str, ...]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def held(state: State, name: str) -> bytes:
    """The content of a file of a genuine folder."""
    content = state[name]
    assert isinstance(content, bytes)
    return content


def payload_of(content: bytes) -> dict[str, Any]:
    """What a pointer says."""
    told: dict[str, Any] = json.loads(base64.b64decode(json.loads(content)["payload"]))
    return told


def release_of(state: State, channel: str = "stable") -> dict[str, Any]:
    """The release of a channel."""
    told: dict[str, Any] = json.loads(
        held(state, f"releases/{payload_of(held(state, POINTER))['channels'][channel]['release']}.json")
    )
    return told


def pointed(payload: Any, key: PrivateKey, kind: str = KIND) -> bytes:
    """A signed pointer, as a file."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload, ensure_ascii=False).encode()
    return json_text(signed(body, key, kind)).encode()


def released(state: State, key: PrivateKey, release: Any, **more: Answer) -> dict[str, Answer]:
    """The folder with another release of stable, signed: what only the owner of a key can do."""
    body = release if isinstance(release, bytes) else json_text(release).encode()
    payload = payload_of(held(state, POINTER))
    payload["channels"]["stable"]["release"] = sha256(body)
    return {**state, POINTER: pointed(payload, key), f"releases/{sha256(body)}.json": body, **more}


def with_file(state: State, key: PrivateKey, name: str, content: bytes) -> dict[str, Answer]:
    """The folder with another file in the release of stable, signed."""
    release = release_of(state)
    files = [each for each in release["files"] if each["name"] != name]
    file = {"name": name, "sha256": sha256(content), "bytes": len(content)}
    return released(state, key, {**release, "files": [*files, file]}, **{f"files/{file['sha256']}": content})


def followed(state: State, key: PrivateKey, files: Mapping[str, bytes], deltas: Iterable[Offered]) -> dict[str, Answer]:
    """The next number of a folder, whose release has more files for the page, and deltas."""
    before = held(state, POINTER)
    number = payload_of(before)["number"]
    release = release_of(state)
    entries = [each for each in release["files"] if each["name"] not in files]
    entries += [{"name": name, "sha256": sha256(each), "bytes": len(each)} for name, each in files.items()]
    entries += [{"name": f"deltas/{each.old}/{each.new}", "sha256": each.digest, "bytes": each.size} for each in deltas]
    answers: dict[str, Answer] = {f"files/{sha256(each)}": each for each in files.values()}
    answers |= {f"files/{each.digest}": each.answer for each in deltas}
    body = json_text({**release, "files": entries}).encode()
    payload = {**payload_of(before), "number": number + 1, "previous": sha256(before)}
    payload["channels"]["stable"]["release"] = sha256(body)
    answers |= {f"history/{number}.json": before, f"releases/{sha256(body)}.json": body, POINTER: pointed(payload, key)}
    return {**state, **answers}


@dataclass(frozen=True)
class Offered:
    """A delta as a release names it, by what it begins with and makes, and what the host says when it is asked."""

    old: str
    new: str
    digest: str
    size: int
    answer: Answer

    @classmethod
    def of(cls, old: bytes, new: bytes, delta: bytes, answer: Answer = b"") -> Offered:
        """A delta that is sent as it is, unless the host says something else."""
        return cls(sha256(old), sha256(new), sha256(delta), len(delta), delta if answer == b"" else answer)


@cache
def offered(old: bytes, new: bytes, other: bytes) -> dict[str, Offered]:
    """Deltas from a content to another one, and what is wrong with each; `other` is neither of them."""
    size, good = len(new), delta_of(old, new)
    return {
        "nothing": Offered.of(old, new, good),
        "changed": Offered.of(old, new, good, good[:50] + bytes([good[50] ^ 1]) + good[51:]),
        "gone": Offered.of(old, new, good, None),
        "cut in transit": Offered.of(old, new, good, Cut(good)),
        "without end": Offered.of(old, new, good, Endless(good)),
        "another size than promised": replace(Offered.of(old, new, good), size=len(good) - 1),
        "larger than the file": replace(Offered.of(old, new, good), size=size),
        "a bomb": Offered.of(old, new, packed([(size, 0)], bytes(10_000_000))),
        "a byte too few": Offered.of(old, new, packed([(size - 1, 0)], bytes(size - 1))),
        "a byte too many": Offered.of(old, new, packed([(size + 1, 0)], bytes(size + 1))),
        "segments that are too short": Offered.of(old, new, packed([(size - 1, 0)], bytes(size))),
        "segments that are too long": Offered.of(old, new, packed([(2**32 - 1, 0), (size + 1, 0)], bytes(size))),
        "too many segments": Offered.of(old, new, packed([*[(0, 0)] * 5000, (size, 0)], bytes(size))),
        "truncated": Offered.of(old, new, good[:-5]),
        "longer": Offered.of(old, new, good + b"more"),
        "noise": Offered.of(old, new, random.Random(0).randbytes(1000)),
        "nothing in it": Offered.of(old, new, b""),
        "no header": Offered.of(old, new, zlib.compress(b"abc")),
        "of another file": Offered.of(old, new, delta_of(other, new)),
        "makes another file": Offered.of(old, new, delta_of(old, other)),
    }


class Maker:
    """Draws hostile folders."""

    def __init__(self, folders: Folders, seed: int) -> None:
        self._of, self._random = folders, random.Random(seed)

    def changed(self, content: bytes) -> bytes:
        """One byte is another one."""
        place = self._random.randrange(len(content))
        return content[:place] + bytes([content[place] ^ self._random.randrange(1, 256)]) + content[place + 1 :]

    def cut(self, content: bytes) -> bytes:
        return content[: self._random.randrange(len(content))]

    def longer(self, content: bytes) -> bytes:
        place = self._random.randrange(len(content) + 1)
        return content[:place] + self._random.randbytes(self._random.randrange(1, 50)) + content[place:]

    def all(self, count: int) -> Iterator[Hostile]:
        """So many folders, of all kinds by turns."""
        makers: list[Callable[[], Hostile]] = [
            self._pointer_bytes,
            self._signatures,
            self._numbers,
            self._keys,
            self._malformed,
            self._history,
            self._release_bytes,
            self._release_forms,
            self._file_bytes,
            self._deltas,
        ]
        for number in range(count):
            yield makers[number % len(makers)]()

    def _pick(self, kind: str, choices: dict[str, Callable[[], State]], *outcomes: str) -> Hostile:
        name = self._random.choice(sorted(choices))
        return Hostile(f"{kind}: {name}", choices[name](), outcomes or ("updateRefused",))

    def _with(self, content: Answer, name: str = POINTER) -> State:
        return {**self._of.after, name: content}

    def _payload(self, **more: Any) -> dict[str, Any]:
        return {**payload_of(held(self._of.after, POINTER)), **more}

    def _pointer_bytes(self) -> Hostile:
        content = held(self._of.after, POINTER)
        return self._pick(
            "the pointer's bytes",
            {
                "changed": lambda: self._with(self.changed(content)),
                "truncated": lambda: self._with(self.cut(content)),
                "longer": lambda: self._with(self.longer(content)),
                "cut in transit": lambda: self._with(Cut(content)),
                "gone": lambda: self._with(None),
                "too many": lambda: self._with(content + b" " * BOUND),
                "without end": lambda: self._with(Endless(content)),
                "noise": lambda: self._with(self._random.randbytes(self._random.randrange(3000))),
                "reformatted": lambda: self._with(json.dumps(json.loads(content)).encode()),
            },
            "updateRefused",
            "updateUnreached",
        )

    def _signatures(self) -> Hostile:
        after, before = (json.loads(held(each, POINTER)) for each in (self._of.after, self._of.before))
        payload = base64.b64decode(after["payload"])
        [mine] = after["signatures"]

        def signatures(*found: dict[str, str]) -> State:
            return self._with(json_text({**after, "signatures": list(found)}).encode())

        def forged(content: bytes) -> dict[str, str]:
            return {"keyid": mine["keyid"], "sig": base64.b64encode(content).decode()}

        stranger = json.loads(pointed(payload, self._of.stranger))["signatures"][0]
        return self._pick(
            "signatures",
            {
                "none": lambda: signatures(),
                "of the pointer before": lambda: signatures(*before["signatures"]),
                "on the pointer before": lambda: self._with(
                    json_text({**after, "payload": before["payload"]}).encode()
                ),
                "a stranger's": lambda: signatures(stranger),
                "a stranger's under our name": lambda: signatures({**stranger, "keyid": mine["keyid"]}),
                "ours under a stranger's name": lambda: signatures({**mine, "keyid": stranger["keyid"]}),
                "zero": lambda: signatures(forged(bytes(64))),
                "noise": lambda: signatures(forged(self._random.randbytes(64))),
                "short": lambda: signatures(forged(base64.b64decode(mine["sig"])[:63])),
                "long": lambda: signatures(forged(base64.b64decode(mine["sig"]) + b"\0")),
                "a changed bit": lambda: signatures(forged(self.changed(base64.b64decode(mine["sig"])))),
                "halves exchanged": lambda: signatures(
                    forged(base64.b64decode(mine["sig"])[32:] + base64.b64decode(mine["sig"])[:32])
                ),
                "too many": lambda: signatures(*[stranger] * 1000, mine),
                "of another kind": lambda: self._with(pointed(payload, self._of.key, "application/vnd.other+json")),
                "of another kind under our name": lambda: self._with(
                    json_text(
                        {
                            **json.loads(pointed(payload, self._of.key, "application/vnd.other+json")),
                            "payloadType": KIND,
                        }
                    ).encode()
                ),
                "ours, in an envelope of another kind": lambda: self._with(
                    json_text({**after, "payloadType": "application/vnd.other+json"}).encode()
                ),
                "of the payload alone": lambda: signatures(forged(self._of.key.sign(payload))),
                "of another length": lambda: signatures(
                    forged(self._of.key.sign(encoded(KIND, payload).replace(str(len(payload)).encode(), b"1")))
                ),
            },
        )

    def _numbers(self) -> Hostile:
        number = self._payload()["number"]
        stable = payload_of(held(self._of.before, POINTER))["channels"]["stable"]
        first = held(self._of.after, "history/1.json")

        def ours(**more: Any) -> State:
            return self._with(pointed(self._payload(**more), self._of.key))

        def jump() -> State:
            between = pointed(self._payload(number=number + self._random.randrange(1, 9)), self._of.key)
            last = self._payload(number=number + 1, previous=sha256(between))
            return {**self._with(between, f"history/{number}.json"), POINTER: pointed(last, self._of.key)}

        return self._pick(
            "numbers",
            {
                "a jump in the history": jump,
                "an old pointer": lambda: self._with(first),
                "a lower number": lambda: ours(number=number - 2),
                "the same number": lambda: ours(number=number - 1),
                "the same number, goes on from itself": lambda: ours(
                    number=number - 1, previous=sha256(held(self._of.before, POINTER))
                ),
                "a higher number": lambda: ours(number=number + self._random.randrange(1, 9)),
                "the highest": lambda: ours(number=2**53 - 1),
                "zero": lambda: ours(number=0),
                "negative": lambda: ours(number=-number),
                "a half": lambda: ours(number=number + 0.5),
                "text": lambda: ours(number=str(number)),
                "beyond whole numbers": lambda: ours(number=2**53 + self._random.randrange(9)),
                "no pointer before": lambda: ours(previous=""),
                "another pointer before": lambda: ours(previous=sha256(self._random.randbytes(9))),
                "the first as the one before": lambda: ours(previous=sha256(first)),
                "a stranger's rollback": lambda: self._with(
                    pointed(self._payload(channels={"stable": stable}), self._of.stranger)
                ),
            },
            "updateRefused",
            "updateUnreached",  # a history that it would have to have is not there
        )

    def _keys(self) -> Hostile:
        key, stranger = self._of.key, self._of.stranger
        theirs, ours = stranger.public.to_json(), key.public.to_json()
        moved = {**ours, "x": theirs["x"]}

        def told(signer: PrivateKey, *keys: Any, **more: Any) -> State:
            return self._with(pointed(self._payload(keys=list(keys), **more), signer))

        return self._pick(
            "keys",
            {
                "a stranger's beside ours": lambda: told(stranger, ours, theirs),
                "a stranger's alone": lambda: told(stranger, theirs),
                "ours alone, a stranger signs": lambda: told(stranger, ours),
                "a stranger's alone, we sign": lambda: told(key, theirs),
                "none": lambda: told(key),
                "a point off the curve": lambda: told(key, moved),
                "of another curve": lambda: told(key, {**ours, "crv": "P-384"}),
                "a private one": lambda: told(key, {**ours, "d": "A" * 43}),
                "too many": lambda: told(key, ours, *[theirs] * 100),
                "text": lambda: told(key, "key"),
                "another app's": lambda: told(key, ours, app="another app"),
                "another app's, a stranger signs": lambda: told(stranger, theirs, app="another app"),
            },
        )

    def _malformed(self) -> Hostile:
        """What the owner of a key signed, though attar never would."""
        whole = self._payload()
        field = self._random.choice(sorted(whole))
        strange = [None, 7, -1, 0.5, "", "text", [], {}, [[]], {"stable": {}}, True, "0" * 64, "__proto__"]
        right = {"made": lambda each: isinstance(each, str), "number": lambda each: each == 7}
        wrong = self._random.choice([each for each in strange if not right.get(field, lambda each: False)(each)])
        stable = whole["channels"]["stable"]
        deep = b"[" * 100_000
        texts = [b"", b"{", b"null", b"[]", b'"text"', b"7", b"NaN", b"\xff\xfe", b"\xef\xbb\xbf{}", deep, b"{}" * 9]
        channels = [
            {"stable": {**stable, "share": self._random.choice([0, -1, 1.5, "1", None])}},
            {"stable": {**stable, "release": self._random.choice(["", "../secrets", "F" * 64, None])}},
            {"beta": stable},
            {"stable": stable, "Beta": stable},
            {"stable": stable, "../beta": stable},
            {"stable": {**stable, "more": 1}},
        ]

        def ours(payload: Any) -> State:
            return self._with(pointed(payload, self._of.key))

        return self._pick(
            "malformed",
            {
                "a field of another type": lambda: ours({**whole, field: wrong}),
                "a field is missing": lambda: ours({name: value for name, value in whole.items() if name != field}),
                "one field more": lambda: ours({**whole, self._random.choice(["more", "__proto__"]): 1}),
                "channels": lambda: ours({**whole, "channels": self._random.choice(channels)}),
                "the payload is no pointer": lambda: ours(self._random.choice(texts)),
                "no envelope": lambda: self._with(self._random.choice(texts)),
                "the payload is no base64": lambda: self._with(
                    json_text({**json.loads(held(self._of.after, POINTER)), "payload": "no base64!"}).encode()
                ),
                "an envelope with more": lambda: self._with(
                    json_text({**json.loads(held(self._of.after, POINTER)), "more": 1}).encode()
                ),
            },
        )

    def _history(self) -> Hostile:
        later = payload_of(held(self._of.later, POINTER))["number"]
        name = f"history/{self._random.randrange(later - 2, later)}.json"
        content = held(self._of.later, name)

        def offered(answer: Answer) -> State:
            return {**self._of.later, name: answer}

        return self._pick(
            "the history",
            {
                "changed": lambda: offered(self.changed(content)),
                "truncated": lambda: offered(self.cut(content)),
                "gone": lambda: offered(None),
                "the first again": lambda: offered(held(self._of.later, "history/1.json")),
                "the current one": lambda: offered(held(self._of.later, POINTER)),
                "a stranger's": lambda: offered(pointed(payload_of(content), self._of.stranger)),
                "signed anew with other words": lambda: offered(
                    pointed({**payload_of(content), "made": "2000-01-01"}, self._of.key)
                ),
                "without end": lambda: offered(Endless(content)),
            },
            "updateRefused",
            "updateUnreached",
        )

    def _release_bytes(self) -> Hostile:
        pointer = payload_of(held(self._of.after, POINTER))
        name = f"releases/{pointer['channels']['stable']['release']}.json"
        content = held(self._of.after, name)
        old = payload_of(held(self._of.before, POINTER))["channels"]["stable"]["release"]
        return self._pick(
            "the release's bytes",
            {
                "changed": lambda: self._with(self.changed(content), name),
                "truncated": lambda: self._with(self.cut(content), name),
                "longer": lambda: self._with(self.longer(content), name),
                "cut in transit": lambda: self._with(Cut(content), name),
                "gone": lambda: self._with(None, name),
                "the old release": lambda: self._with(held(self._of.after, f"releases/{old}.json"), name),
                "without end": lambda: self._with(Endless(content), name),
            },
            "updateRefused",
            "updateUnreached",
        )

    def _release_forms(self) -> Hostile:
        """A pointer that is signed well leads to a release that is none for this page."""
        release = release_of(self._of.after)
        files = release["files"]
        one = self._random.randrange(len(files))

        def file(**more: Any) -> State:
            return ours(files=[*files[:one], {**files[one], **more}, *files[one + 1 :]])

        def ours(**more: Any) -> State:
            return released(self._of.after, self._of.key, {**release, **more})

        return self._pick(
            "the release",
            {
                "of another app": lambda: ours(app="another app"),
                "of a later form": lambda: ours(schema=2),
                "nothing for this page": lambda: ours(files=[each for each in files if each["name"][:4] != "app/"]),
                "no description": lambda: ours(files=[each for each in files if each["name"] != "app/model.json"]),
                "a name twice": lambda: ours(files=[*files, files[one]]),
                "a name that leads out": lambda: file(name=self._random.choice(["../a", "/a", "app/../a", "a\\b", ""])),
                "a name of no text": lambda: file(name=self._random.choice([None, 7, ["app/a"]])),
                "no digest": lambda: file(sha256=self._random.choice(["", "../a", None, "F" * 64])),
                "no size": lambda: file(bytes=self._random.choice([-1, 0.5, None, "9", 2**60])),
                "too large": lambda: ours(files=[*files, {"name": "app/more", "sha256": "0" * 64, "bytes": 10**12}]),
                "too many files": lambda: ours(
                    files=[*files, *({"name": f"app/{n}", "sha256": "0" * 64, "bytes": 1} for n in range(2000))]
                ),
                "files of another type": lambda: ours(files=self._random.choice([None, {}, "text", 7])),
                "no JSON": lambda: released(
                    self._of.after, self._of.key, self._random.choice([b"{", b"null", b"\xff"])
                ),
            },
        )

    def _file_bytes(self) -> Hostile:
        theirs = {each["sha256"] for each in release_of(self._of.before)["files"]}
        files = [each for each in release_of(self._of.after)["files"] if each["name"].startswith("app/")]
        new = [each for each in files if each["sha256"] not in theirs]
        name = f"files/{self._random.choice(new)['sha256']}"
        other = f"files/{self._random.choice([each for each in files if not name.endswith(each['sha256'])])['sha256']}"
        content = held(self._of.after, name)
        return self._pick(
            "a file's bytes",
            {
                "changed": lambda: self._with(self.changed(content), name),
                "truncated": lambda: self._with(self.cut(content), name),
                "longer": lambda: self._with(self.longer(content), name),
                "cut in transit": lambda: self._with(Cut(content), name),
                "gone": lambda: self._with(None, name),
                "another file's": lambda: self._with(held(self._of.after, other), name),
                "without end": lambda: self._with(Endless(content), name),
            },
            "updateRefused",
            "updateUnreached",
        )

    def _deltas(self) -> Hostile:
        """One of a file that is another one as a whole, too; the page has what the delta begins with."""
        name = "app/MODEL_CARD.md"
        release = release_of(self._of.after)
        old, new = (
            held(state, f"files/{each['sha256']}")
            for state in (self._of.before, self._of.after)
            for each in release_of(state)["files"]
            if each["name"] == name
        )

        def ours(delta: Offered) -> State:
            called = {"name": f"deltas/{delta.old}/{delta.new}", "sha256": delta.digest, "bytes": delta.size}
            more = {f"files/{delta.digest}": delta.answer, f"files/{delta.new}": self.changed(new)}
            return released(self._of.after, self._of.key, {**release, "files": [*release["files"], called]}, **more)

        made = offered(old, new, bytes(reversed(old)))
        choices = {kind: partial(ours, each) for kind, each in made.items() if kind != "nothing"}
        return self._pick("a delta", choices)
