"""Signatures: the specification's example, WebCrypto's opinion, and what is forged."""

from __future__ import annotations

import base64
import copy
import json
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attar.deploy.release.envelope import KIND, Forged, encoded, opened, signed
from attar.deploy.release.keys import PASSPHRASE, PrivateKey, PublicKey, create, load
from attar.errors import InputError

WEBCRYPTO = """
const { key, message, signature } = JSON.parse(process.argv[1])
const bytes = (text) => Uint8Array.from(Buffer.from(text, 'base64'))
const { subtle } = globalThis.crypto
subtle.importKey('jwk', key, { name: 'ECDSA', namedCurve: 'P-256' }, true, ['verify'])
  .then((public_) => subtle.verify({ name: 'ECDSA', hash: 'SHA-256' }, public_, bytes(signature), bytes(message)))
  .then((right) => console.log(right))
"""


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> PrivateKey:
    return create(tmp_path_factory.mktemp("keys") / "one.pem")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> PrivateKey:
    return create(tmp_path_factory.mktemp("keys") / "other.pem")


def test_the_specifications_example() -> None:
    """DSSE's protocol.md, "Test Vectors": an encoding and a signature by a key of P-256."""
    kind, body = "http://example.com/HelloWorld", b"hello world"
    assert encoded(kind, body) == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    x = 46950820868899156662930047687818585632848591499744589407958293238635476079160
    y = 5640078356564379163099075877009565129882514886557779369047442380624545832820
    point = [base64.urlsafe_b64encode(side.to_bytes(32, "big")).decode().rstrip("=") for side in (x, y)]
    envelope = {
        "payload": "aGVsbG8gd29ybGQ=",
        "payloadType": kind,
        "signatures": [
            {"sig": "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="}
        ],
    }
    assert opened(envelope, [PublicKey(*point)], kind) == body


def test_lengths_count_bytes() -> None:
    assert encoded("tybé", b"x") == "DSSEv1 5 tybé 1 x".encode()


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_what_is_signed_opens_as_it_was(key: PrivateKey, other: PrivateKey, payload: bytes) -> None:
    envelope = json.loads(json.dumps(signed(payload, key)))
    assert opened(envelope, [other.public, key.public]) == payload
    for trusted in ([], [other.public]):
        with pytest.raises(Forged, match="trusted"):
            opened(envelope, trusted)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.data())
def test_a_changed_byte_anywhere_is_forged(key: PrivateKey, data: st.DataObject) -> None:
    envelope = signed(b'{"number": 7}', key)
    where = data.draw(st.sampled_from(["payload", "sig", "payloadType"]))
    changed = copy.deepcopy(envelope)
    holder = changed["signatures"][0] if where == "sig" else changed
    content = bytearray(holder[where].encode() if where == "payloadType" else base64.b64decode(holder[where]))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 127))
    holder[where] = content.decode() if where == "payloadType" else base64.b64encode(content).decode()
    with pytest.raises(Forged):
        opened(changed, [key.public])


@pytest.mark.parametrize(
    "envelope",
    [
        None,
        [],
        {},
        {"payloadType": KIND},
        {"payloadType": KIND, "payload": "e30=", "signatures": []},
        {"payloadType": KIND, "payload": "e30=", "signatures": [{"sig": ""}]},
        {"payloadType": KIND, "payload": "e30=", "signatures": [{"sig": "AAAA"}]},
        {"payloadType": KIND, "payload": "e30=", "signatures": [{"sig": base64.b64encode(bytes(64)).decode()}]},
        {"payloadType": KIND, "payload": "no base64!", "signatures": [{"sig": ""}]},
        {"payloadType": KIND, "payload": 7, "signatures": 7},
    ],
)
def test_what_is_no_envelope_is_forged(key: PrivateKey, envelope: object) -> None:
    with pytest.raises(Forged):
        opened(envelope, [key.public])


def test_a_signature_of_another_kind_of_document_is_none(key: PrivateKey) -> None:
    envelope = signed(b"{}", key, "application/vnd.other+json")
    with pytest.raises(Forged, match="another kind"):
        opened(envelope, [key.public])
    with pytest.raises(Forged, match="trusted"):
        opened({**envelope, "payloadType": KIND}, [key.public])


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_webcrypto_takes_the_key_and_the_signature(key: PrivateKey) -> None:
    message = b"a message" * 100
    signature = key.sign(message)
    for told, right in ((message, "true"), (message + b".", "false")):
        asked = {
            "key": key.public.to_json(),
            "message": base64.b64encode(told).decode(),
            "signature": base64.b64encode(signature).decode(),
        }
        done = subprocess.run(["node", "-e", WEBCRYPTO, json.dumps(asked)], capture_output=True, text=True)
        assert done.stdout.strip() == right, done.stderr


def test_a_key_is_for_its_owner_alone_and_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "plants.pem"
    made = create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    shown = json.loads(path.with_suffix(".json").read_text())
    assert PublicKey.from_json(shown, path) == made.public == load(path).public and "d" not in shown
    before = path.read_bytes()
    with pytest.raises(InputError, match="exists already"):
        create(path)
    path.with_suffix(".json").unlink()
    assert create(path).public == made.public, "only what is missing is written"
    assert path.read_bytes() == before and path.with_suffix(".json").exists()
    for place in (tmp_path, tmp_path / "one.json", Path("/"), Path()):
        with pytest.raises(InputError):
            create(place)
    (tmp_path / "cut.pem").write_bytes(before[:40])
    with pytest.raises(InputError, match="no private key"):
        create(tmp_path / "cut.pem")
    assert not [each for each in path.parent.iterdir() if each.name.startswith(".")]


def test_a_passphrase_closes_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = create(tmp_path / "plain.pem")
    monkeypatch.setenv(PASSPHRASE, "open sesame")
    made = create(tmp_path / "closed.pem")
    assert load(tmp_path / "closed.pem").public == made.public
    assert b"ENCRYPTED" in (tmp_path / "closed.pem").read_bytes()
    with pytest.raises(InputError, match="unset"):
        load(plain.path)
    monkeypatch.setenv(PASSPHRASE, "another")
    with pytest.raises(InputError, match="does not open it"):
        load(tmp_path / "closed.pem")
    monkeypatch.delenv(PASSPHRASE)
    with pytest.raises(InputError, match=f"set {PASSPHRASE}"):
        load(tmp_path / "closed.pem")


def test_what_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "text.pem").write_text("no key")
    with pytest.raises(InputError, match="no private key"):
        load(tmp_path / "text.pem")
    with pytest.raises(InputError, match="lost"):
        load(tmp_path / "none.pem")
    subprocess.run(
        ["openssl", "ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", tmp_path / "384.pem"], check=True
    )
    with pytest.raises(InputError, match="another kind"):
        load(tmp_path / "384.pem")
    off = {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 42 + "E"}
    made = create(tmp_path / "made.pem").public.to_json()
    for value in (
        {**made, "x": made["x"] + "!!!!"},
        {**made, "x": made["x"] + "="},
        None,
        [],
        {},
        {**off, "x": 7},
        off,
        {**off, "crv": "P-384"},
    ):
        with pytest.raises(InputError, match="no public key"):
            PublicKey.from_json(value, tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError):
        create(tmp_path / "file" / "one.pem")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
