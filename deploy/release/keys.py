"""Keys that sign releases: ECDSA on P-256, which every browser's WebCrypto verifies.

A private key is a PEM file (PKCS #8) that only its owner can read, outside the release folder. A public key is a JSON
Web Key (RFC 7517), and its name is the key's thumbprint (RFC 7638).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attar.errors import InputError
from attar.extras import require
from attar.files import make_folder, scratch, write_json

PASSPHRASE = "ATTAR_KEY_PASSPHRASE"
"""The environment's variable that encrypts a private key, and opens it again."""

_LONGEST_PASSPHRASE = 1023
"""Bytes, of what OpenSSL takes."""

_SIDE = 32
"""Bytes of a coordinate, and of each half of a signature."""


@dataclass(frozen=True)
class PublicKey:
    """A key that phones trust.

    Attributes:
        x, y: coordinates of the point, base64url without padding.
    """

    x: str
    y: str

    @property
    def id(self) -> str:
        """Its thumbprint: SHA-256 of its members in the order that RFC 7638 asks for, base64url without padding."""
        text = json.dumps({"crv": "P-256", "kty": "EC", "x": self.x, "y": self.y}, separators=(",", ":"))
        return _base64url(hashlib.sha256(text.encode()).digest())

    def to_json(self) -> dict[str, str]:
        """As a JSON Web Key."""
        return {"kty": "EC", "crv": "P-256", "x": self.x, "y": self.y}

    @staticmethod
    def from_json(value: Any, source: Path) -> PublicKey:
        """Read a JSON Web Key.

        Raises:
            InputError: it is none, or not of P-256.
        """
        try:
            key = PublicKey(str(value["x"]), str(value["y"]))
            if (value["kty"], value["crv"]) != ("EC", "P-256"):
                raise ValueError
            if any(_base64url(side) != text for side, text in zip(key.sides(), (key.x, key.y))):
                raise ValueError  # the same point under another name
            key.opened()
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{source}: no public key of P-256 (a JSON Web Key). `attar keys` writes one.") from None
        return key

    def sides(self) -> tuple[bytes, bytes]:
        """Its coordinates as bytes, the most significant first."""
        x, y = (base64.urlsafe_b64decode(each + "=" * (-len(each) % 4)) for each in (self.x, self.y))
        return x, y

    def opened(self) -> Any:
        """The key as `cryptography` has it; a `ValueError` if the point is not on the curve."""
        curves = require("cryptography.hazmat.primitives.asymmetric.ec")
        x, y = self.sides()
        if (len(x), len(y)) != (_SIDE, _SIDE):
            raise ValueError("a coordinate of P-256 has 32 bytes")
        return curves.EllipticCurvePublicKey.from_encoded_point(curves.SECP256R1(), b"\4" + x + y)

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether a signature, r and s of 32 bytes each, is this key's of a message (SHA-256)."""
        if len(signature) != 2 * _SIDE:
            return False
        curves, hashes = (require(f"cryptography.hazmat.primitives.{name}") for name in ("asymmetric.ec", "hashes"))
        encode = require("cryptography.hazmat.primitives.asymmetric.utils").encode_dss_signature
        r, s = (int.from_bytes(part, "big") for part in (signature[:_SIDE], signature[_SIDE:]))
        try:
            self.opened().verify(encode(r, s), message, curves.ECDSA(hashes.SHA256()))
        except require("cryptography.exceptions").InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class PrivateKey:
    """A key that signs; `path` is where it lies."""

    path: Path
    public: PublicKey
    _opened: Any

    def sign(self, message: bytes) -> bytes:
        """Its signature: r and s of 32 bytes each, as WebCrypto wants it (IEEE P1363)."""
        curves, hashes = (require(f"cryptography.hazmat.primitives.{name}") for name in ("asymmetric.ec", "hashes"))
        decode = require("cryptography.hazmat.primitives.asymmetric.utils").decode_dss_signature
        r, s = decode(self._opened.sign(message, curves.ECDSA(hashes.SHA256())))
        return bytes(r.to_bytes(_SIDE, "big") + s.to_bytes(_SIDE, "big"))


def create(path: Path) -> PrivateKey:
    """Write a new private key, and its public key beside it as `.json`.

    Where a private key is there already and only its public one is missing, that is written.

    Raises:
        InputError: both are there, or a file that is no key; or they cannot be written.
    """
    shown = path.with_suffix(".json") if path.name else path
    if shown == path or path.is_dir():
        raise InputError(f"{path}: name a file such as plants.pem; the public key goes beside it as .json.")
    if shown.exists():
        raise InputError(f"{shown}: exists already, and the public key goes there. Choose another name.")
    if not path.exists():
        _write_private(path)
    key = load(path)
    write_json(shown, key.public.to_json())
    return key


def _write_private(path: Path) -> None:
    """A new key, whole or not at all, and readable by nobody else from its first moment on."""
    curves = require("cryptography.hazmat.primitives.asymmetric.ec")
    forms = require("cryptography.hazmat.primitives.serialization")
    word = os.environ.get(PASSPHRASE, "").encode()
    if len(word) > _LONGEST_PASSPHRASE:
        raise InputError(f"{PASSPHRASE}: at most {_LONGEST_PASSPHRASE} bytes.")
    encryption = forms.BestAvailableEncryption(word) if word else forms.NoEncryption()
    made = curves.generate_private_key(curves.SECP256R1())
    content = made.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, encryption)
    make_folder(path.resolve().parent)
    try:
        with scratch(path.resolve().parent) as folder:
            descriptor = os.open(folder / path.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.link(folder / path.name, path)  # never in the place of another
    except FileExistsError:
        raise InputError(f"{path}: exists already. A key is never replaced: choose another name.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}).") from None


def load(path: Path) -> PrivateKey:
    """Read a private key.

    Raises:
        InputError: it is missing, no key of P-256, or encrypted with another passphrase.
    """
    forms = require("cryptography.hazmat.primitives.serialization")
    curves = require("cryptography.hazmat.primitives.asymmetric.ec")
    word = os.environ.get(PASSPHRASE)
    try:
        opened = forms.load_pem_private_key(path.read_bytes(), word.encode() if word else None)
    except OSError as error:
        raise InputError(
            f"{path}: the key cannot be read ({error.strerror}). If it is lost, sign with another that phones trust."
        ) from None
    except TypeError:  # a passphrase is missing, or there is one too many
        hint = f"is not encrypted: unset {PASSPHRASE}" if word else f"is encrypted: set {PASSPHRASE}"
        raise InputError(f"{path}: the key {hint}.") from None
    except (ValueError, require("cryptography.exceptions").UnsupportedAlgorithm):
        raise InputError(f"{path}: no private key of P-256, or {PASSPHRASE} does not open it.") from None
    if not isinstance(opened, curves.EllipticCurvePrivateKey) or opened.curve.name != "secp256r1":
        raise InputError(f"{path}: a key of another kind. `attar keys` makes one of P-256.")
    point = opened.public_key().public_numbers()
    x, y = (_base64url(side.to_bytes(_SIDE, "big")) for side in (point.x, point.y))
    return PrivateKey(path, PublicKey(x, y), opened)


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
