"""A revision as one signed folder that runs offline with llama.cpp on a bare machine."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sartor_edge.feedback_rule import RULE, FeedbackRule
from sartor_edge.signing import sign, verify

MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
_FORMAT = 1
_CHUNK = 2**20
_HEAD_BYTES = 64 * 2**20

_START = """#!/bin/sh
# Starts this model. Needs no network: llama.cpp's llama-server, or Python with the xllamacpp wheel.
cd "$(dirname "$0")" || exit 1
if command -v llama-server >/dev/null 2>&1; then
  exec llama-server --model weights.gguf --alias {alias} --ctx-size {context} --parallel {slots} \\
    --jinja --chat-template-file chat_template.jinja \\
    --host "${{HOST:-127.0.0.1}}" --port "${{PORT:-8080}}"
fi
if "${{PYTHON:-python3}}" -c "import xllamacpp" 2>/dev/null; then
  exec "${{PYTHON:-python3}}" serve.py
fi
echo "no engine is here: install llama.cpp's llama-server, or the wheel xllamacpp" >&2
exit 127
"""
_SERVE = '''"""Serves weights.gguf with the xllamacpp wheel (llama.cpp's own server), as engine.json says."""

import json
import os
import signal

import xllamacpp

with open("engine.json", encoding="utf-8") as file:
    settings = json.load(file)
stop = {signal.SIGTERM, signal.SIGINT}
signal.pthread_sigmask(signal.SIG_BLOCK, stop)
parameters = xllamacpp.CommonParams()
parameters.model.path = "weights.gguf"
parameters.model_alias = {settings["alias"]}
parameters.hostnames = [os.environ.get("HOST", "127.0.0.1")]
parameters.port = int(os.environ.get("PORT", "8080"))
parameters.n_ctx = settings["context_length"] * settings["slots"]
parameters.n_parallel = settings["slots"]
parameters.use_jinja = True
parameters.fit_params = False
parameters.ui = False
parameters.verbosity = 1
server = xllamacpp.Server(parameters)
signal.sigwait(stop)
os._exit(0)
'''


class BadBundle(Exception):
    """A folder is no whole bundle; the message says which file and why."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A prompt and how the served model answered it where it was built."""

    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class BundleSettings:
    """What a bundle says of itself. `least_agreement`: share of probes a device must answer the same."""

    revision: str
    model_version: str
    sequence: int
    alias: str
    context_length: int = 2048
    slots: int = 1
    least_agreement: float = 0.5


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a bundle with their digests and sizes. Signed, so nothing else must be."""

    settings: BundleSettings
    files: Mapping[str, tuple[str, int]]

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(size for _, size in self.files.values())


def make_bundle(
    folder: Path,
    weights: Path,
    settings: BundleSettings,
    probes: Sequence[Probe],
    private_key: Path,
    feedback: FeedbackRule | None = None,
) -> Manifest:
    """Write the bundle into an empty folder and sign it.

    Args:
        feedback: whose answers a device's feedback is about, and whether their text goes along.
    Raises:
        BadBundle: the weights have no chat template.
        UnusableKey: the key cannot sign.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights, folder / "weights.gguf")
    (folder / "chat_template.jinja").write_text(chat_template(weights), encoding="utf-8")
    engine = {"alias": settings.alias, "context_length": settings.context_length, "slots": settings.slots}
    (folder / "engine.json").write_text(json.dumps(engine, indent=2) + "\n", encoding="utf-8")
    told = [asdict(probe) for probe in probes]
    (folder / "probes.json").write_text(
        json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (feedback or FeedbackRule()).write(folder / RULE)
    start = _START.format(
        alias=settings.alias, context=settings.context_length * settings.slots, slots=settings.slots
    )
    (folder / "start.sh").write_text(start, encoding="utf-8")
    (folder / "start.sh").chmod(0o755)
    (folder / "serve.py").write_text(_SERVE, encoding="utf-8")
    files = {path.name: (digest(path), path.stat().st_size) for path in sorted(folder.iterdir())}
    manifest = Manifest(settings, files)
    data = _to_json(manifest)
    (folder / MANIFEST).write_bytes(data)
    (folder / SIGNATURE).write_bytes(sign(private_key, data))
    return manifest


def read_manifest(data: bytes, signature: bytes, public_key: Path) -> Manifest:
    """A manifest whose signature is right.

    Raises:
        WrongSignature, UnusableKey, BadBundle.
    """
    verify(public_key, data, signature, "the manifest")
    try:
        value = json.loads(data)
        if value["format"] != _FORMAT:
            raise BadBundle(f"this updater reads bundles of format {_FORMAT}, not {value['format']}")
        files = {str(name): (str(each["sha256"]), int(each["size"])) for name, each in value["files"].items()}
        settings = BundleSettings(**value["settings"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadBundle(f"the manifest cannot be read: {error!r}") from error
    for name in files:
        if Path(name).name != name or name.startswith("."):
            raise BadBundle(f"the manifest names a file outside its folder: {name!r}")
    return Manifest(settings, files)


def verify_bundle(folder: Path, public_key: Path) -> Manifest:
    """Check a folder whole: signature, every file, every digest.

    Raises:
        WrongSignature, UnusableKey, BadBundle.
    """
    try:
        data, signature = (folder / MANIFEST).read_bytes(), (folder / SIGNATURE).read_bytes()
    except FileNotFoundError as error:
        raise BadBundle(f"{error.filename} is missing") from error
    manifest = read_manifest(data, signature, public_key)
    for name, (sha256, size) in manifest.files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size or digest(path) != sha256:
            raise BadBundle(f"{name} is not what the manifest says: it is missing, cut off or changed")
    return manifest


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    whole = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            whole.update(chunk)
    return whole.hexdigest()


def chat_template(weights: Path) -> str:
    """The chat template that a GGUF file carries.

    Raises:
        BadBundle: it has none, or is no GGUF file.
    """
    with weights.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    key = b"tokenizer.chat_template"
    at = head.find(key)
    if not head.startswith(b"GGUF") or at < 0:
        raise BadBundle(f"{weights} is no GGUF file with a chat template")
    kind, length = struct.unpack_from("<IQ", head, at + len(key))
    start = at + len(key) + 12
    if kind != 8 or start + length > len(head):
        raise BadBundle(f"the chat template in {weights} breaks off")
    return head[start : start + length].decode()


def _to_json(manifest: Manifest) -> bytes:
    value: dict[str, Any] = {
        "format": _FORMAT,
        "settings": asdict(manifest.settings),
        "files": {name: {"sha256": sha, "size": size} for name, (sha, size) in manifest.files.items()},
    }
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
