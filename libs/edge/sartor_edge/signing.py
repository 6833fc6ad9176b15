"""Ed25519 signatures (RFC 8032, by the `cryptography` package) over the exact bytes of a file."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path

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
    try:
        key = load_pem_private_key(private.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UnusableKey(f"{private} is no private key: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UnusableKey(f"{private} is not an Ed25519 key; make one with `python -m sartor_edge keygen`")
    return base64.b64encode(key.sign(data)) + b"\n"


def verify(public: Path, data: bytes, signature: bytes, what: str) -> None:
    """Returns if `signature` is that of `data` by this key.

    Raises:
        WrongSignature: naming `what`.
        UnusableKey: the trusted key itself cannot be read.
    """
    try:
        key = load_pem_public_key(public.read_bytes())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnusableKey(f"{public} is no public key: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise UnusableKey(f"{public} is not an Ed25519 key")
    try:
        key.verify(base64.b64decode(signature.strip(), validate=True), data)
    except (InvalidSignature, binascii.Error, ValueError) as error:
        raise WrongSignature(f"{what} is not signed by the key in {public}; it was not used") from error
