"""Ed25519 signatures (RFC 8032, by the `cryptography` package) over the exact bytes of a file.

What changes often and is read while it changes is *sealed*: value and signature in one file, so that a reader
never meets the one without the other.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)


class WrongSignature(Exception):
    """What was to be trusted was not signed by the key that is trusted."""


class UnusableKey(Exception):
    """The file is no Ed25519 key in PEM form."""


def make_key(private: Path, public: Path) -> None:
    """Write a new pair: the private one for its owner's eyes only, the public one for devices.

    Raises:
        FileExistsError: a key is never overwritten.
    """
    key = Ed25519PrivateKey.generate()
    descriptor = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def sign(private: Path, data: bytes) -> bytes:
    """The signature of these bytes, in base64.

    Raises:
        UnusableKey: with what to do.
    """
    return base64.b64encode(_private_key(private).sign(data)) + b"\n"


def verify(public: Path, data: bytes, signature: bytes, what: str) -> None:
    """Returns if `signature` is that of `data` by this key.

    Raises:
        WrongSignature: naming `what`.
        UnusableKey: the trusted key itself cannot be read.
    """
    key = _public_key(public.read_bytes(), str(public))
    _verify(key, data, signature, f"{what} is not signed by the key in {public}; it was not used")


def seal(private: Path, value: dict[str, Any]) -> bytes:
    """A file that holds `value`, its signature and the public key that fits.

    Raises:
        UnusableKey.
    """
    text = json.dumps(value, ensure_ascii=False, indent=1)
    envelope = {
        "signed": text,
        "signature": sign(private, text.encode()).decode().strip(),
        "public_key": public_of(private),
    }
    return (json.dumps(envelope, ensure_ascii=False, indent=1) + "\n").encode()


def unseal(sealed: bytes, what: str, public: Path | None = None) -> tuple[Any, str]:
    """The value, and the fingerprint of the key that signed it: `public`, or where none is given, its own.

    Raises:
        WrongSignature: it is not sealed, or not by this key.
        UnusableKey: the trusted key itself cannot be read.
    """
    try:
        envelope = json.loads(sealed)
        text, signature, own = (str(envelope[name]) for name in ("signed", "signature", "public_key"))
        key = _public_key(own.encode() if public is None else public.read_bytes(), str(public or what))
        _verify(key, text.encode(), signature.encode(), f"{what} is not signed by {public or 'its own key'}")
        return json.loads(text), fingerprint(key)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WrongSignature(f"{what} is not signed: {error!r}") from error
    except UnusableKey as error:
        if public is not None:
            raise
        raise WrongSignature(str(error)) from error


def public_of(private: Path) -> str:
    """The public key of a private one, as PEM.

    Raises:
        UnusableKey.
    """
    public = _private_key(private).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def fingerprint(key: Ed25519PublicKey) -> str:
    """Sixteen hexadecimal digits that nobody else's key has."""
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


def fingerprint_of(private: Path) -> str:
    """That of the public key of a private one."""
    return fingerprint(_private_key(private).public_key())


def _private_key(private: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(private.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UnusableKey(f"{private} is no private key: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UnusableKey(f"{private} is not an Ed25519 key; make one with `python -m sartor_edge keygen`")
    return key


def _public_key(pem: bytes, named: str) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnusableKey(f"{named} is no public key: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise UnusableKey(f"{named} is not an Ed25519 key")
    return key


def _verify(key: Ed25519PublicKey, data: bytes, signature: bytes, otherwise: str) -> None:
    try:
        key.verify(base64.b64decode(signature.strip(), validate=True), data)
    except (InvalidSignature, binascii.Error, ValueError) as error:
        raise WrongSignature(otherwise) from error
