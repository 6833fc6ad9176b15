"""The live revision of an endpoint as a signed bundle: fetched, asked known prompts, signed by its owner."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from minio import Minio
from minio.error import S3Error
from sartor.deployment.v1 import deployment_service_pb2 as api
from sartor.deployment.v1.endpoint_pb2 import Revision
from sartor_edge.bundle import BadBundle, BundleSettings, Manifest, Probe, digest, make_bundle
from sartor_edge.feedback_rule import FeedbackRule, Text
from sartor_edge.signing import UnusableKey

from sartor_cli.chat import live_endpoint
from sartor_cli.client import Sartor
from sartor_cli.faults import CommandFailed
from sartor_cli.gateway import Gateway, Said
from sartor_cli.output import last
from sartor_cli.reports import object_store

_PROMPTS = ("Hello, who are you?", "What can you help me with?", "Thank you, goodbye.")
_ANSWER_TOKENS = 16
_TAR_BLOCK, _TAR_MARK = 512, slice(257, 262)


def write_bundle(
    sartor: Sartor, endpoint: str, key: Path, out: Path, sequence: int = 0, feedback_text: Text | None = None
) -> Manifest:
    """Write it into the new folder `out`. `sequence` 0 is the revision's number; devices only go up.

    Args:
        feedback_text: when question and answer go along with a device's feedback; None: with corrections,
            where the endpoint samples at all, for only there the gateway keeps them.
    Raises:
        CommandFailed: the folder is not empty, the key cannot sign, the weights are not what was built.
    """
    if out.exists() and any(out.iterdir()):
        raise CommandFailed(f"{out} is not empty.", "Name a new folder.")
    if not key.is_file():
        raise CommandFailed(f"{key} does not exist.", "Make one: python -m sartor_edge keygen --help")
    found = live_endpoint(sartor, endpoint)
    revision = sartor.ask(sartor.deployment.GetRevision, api.GetRevisionRequest(name=found.live_revision))
    if revision.HasField("base_weights"):
        raise CommandFailed(
            f"{last(revision.name)} is an adapter on a base that it shares with other endpoints; a device"
            " gets one file.",
            "Set `weights: merged` in the project file's deployment (of this endpoint, or of one for"
            " devices), apply it, and deploy the version again.",
        )
    _check_it_writes(object_store(sartor), revision)
    prompts = [each.prompt for each in found.rollout.smoke_prompts] or list(_PROMPTS)
    gateway = Gateway(found.url)
    probes = [
        Probe(prompt, gateway.ask(revision.name, [Said("user", prompt)], _ANSWER_TOKENS))
        for prompt in prompts
    ]
    settings = BundleSettings(
        revision=f"{last(endpoint)}-{last(revision.name)}",
        model_version=revision.model_version,
        sequence=sequence or int(last(revision.name).removeprefix("r")),
        alias=last(endpoint),
        context_length=found.engine.context_length,
        slots=1,
    )
    usual = Text.CORRECTIONS if found.watching.sample_share else Text.NEVER
    rule = FeedbackRule(revision.name, feedback_text or usual)
    bucket, _, name = revision.weights.uri.removeprefix("s3://").partition("/")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.gguf"
        try:
            object_store(sartor).fget_object(bucket, name, str(weights))
            if digest(weights) != revision.weights.sha256:
                raise CommandFailed(
                    "The weights are not what was built (their SHA-256 differs).", "Deploy anew."
                )
            return make_bundle(out, weights, settings, probes, key, rule)
        except S3Error as error:
            raise CommandFailed(
                f"{revision.weights.uri} cannot be read: {error.message}.", "See `sartor status`."
            ) from None
        except (UnusableKey, BadBundle) as error:
            shutil.rmtree(out, ignore_errors=True)  # half a bundle; it was empty or not there
            raise CommandFailed(f"{error}.", "Name another key, or deploy the model anew.") from None


def _check_it_writes(store: Minio, revision: Revision) -> None:
    """Refuse a model that says labels or numbers: its files are packed, with a tar's mark in the first block.

    Raises:
        CommandFailed: they are, or they cannot be read.
    """
    bucket, _, name = revision.weights.uri.removeprefix("s3://").partition("/")
    try:
        answer = store.get_object(bucket, name, length=_TAR_BLOCK)
        opening = answer.read()
        answer.release_conn()
    except S3Error as error:
        raise CommandFailed(
            f"{revision.weights.uri} cannot be read: {error.message}.", "See `sartor status`."
        ) from None
    if opening[_TAR_MARK] == b"ustar":
        raise CommandFailed(
            f"{last(revision.name)} says labels or numbers; a bundle runs by llama.cpp, which writes text.",
            "Let devices ask this endpoint's /v1/classifications, or run the deployment agent near them"
            " (deploy/overlays/edge). A bundle needs a version that writes text: another training method than"
            " output_layer.",
        )
