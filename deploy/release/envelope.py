"""Signed JSON: the Dead Simple Signing Envelope (DSSE 1.0.2, github.com/secure-systems-lab/dsse, protocol.md).

What is signed is the payload's bytes with their kind before them, so that a signature of one kind of document is none
of another. A reader takes the payload out of the envelope only as `opened` returns it: the very bytes that were signed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from attar.deploy.release.keys import PrivateKey, PublicKey

KIND = "application/vnd.attar.releases+json"
"""What the payload of a release folder's pointer is."""


class Forged(Exception):
    """No trusted key signed this."""


def encoded(kind: str, payload: bytes) -> bytes:
    """The bytes that a signature covers: DSSE's pre-authentication encoding."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def signed(payload: bytes, key: PrivateKey, kind: str = KIND) -> dict[str, Any]:
    """An envelope with one signature, as plain data."""
    signature = key.sign(encoded(kind, payload))
    return {
        "payloadType": kind,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": key.public.id, "sig": base64.b64encode(signature).decode()}],
    }


def opened(envelope: Any, trusted: Sequence[PublicKey], kind: str = KIND) -> bytes:
    """The payload of an envelope that one of the trusted keys signed.

    The `keyid` of a signature is a hint that nobody vouches for, so every key is tried.

    Raises:
        Forged: none did, it is of another kind, or no envelope.
    """
    try:
        if envelope["payloadType"] != kind:
            raise Forged(f"a document of another kind: {envelope['payloadType']!r}")
        payload = base64.b64decode(envelope["payload"], validate=True)
        signatures = [base64.b64decode(each["sig"], validate=True) for each in envelope["signatures"]]
    except (KeyError, TypeError, binascii.Error, ValueError):
        raise Forged("not a signed document") from None
    message = encoded(kind, payload)
    if not any(key.verifies(signature, message) for signature in signatures for key in trusted):
        raise Forged("not signed by a trusted key")
    return payload
