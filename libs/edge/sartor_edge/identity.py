"""Who a device is: the fingerprint of a key that it makes for itself, and signs its reports with.

So nobody can report for a device without its key. It is one device's: no image of a disk should carry it.
"""

from __future__ import annotations

import os
from pathlib import Path

from sartor_edge.signing import fingerprint_of, make_key

_KEY = "device.pem"


def device_key(home: Path) -> Path:
    """The private key of the device with this folder; made when first asked for."""
    key = home / _KEY
    if not key.exists():
        home.mkdir(parents=True, exist_ok=True)
        part, public = home / f".{_KEY}.{os.getpid()}", home / f".{_KEY}.{os.getpid()}.pub"
        try:
            make_key(part, public)
            os.rename(part, key)
        finally:
            part.unlink(missing_ok=True)
            public.unlink(missing_ok=True)
    return key


def device_id(home: Path) -> str:
    """Sixteen hexadecimal digits, the same for as long as the folder lives.

    Raises:
        UnusableKey: the disk damaged the key; remove it, and the device becomes a new one.
    """
    return fingerprint_of(device_key(home))
