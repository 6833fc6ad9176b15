"""Deployment as it runs: server, worker, agent and gateway on the session's real servers, fed as training and
evaluation would feed them, with a tiny model and adapters made on the spot."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
from google.protobuf.json_format import MessageToJson
from kafka import KafkaConsumer, KafkaProducer
from minio import Minio
from sartor.common.v1 import object_reference_pb2
from sartor.deployment.v1 import deployment_service_pb2 as api
from sartor.deployment.v1 import deployment_service_pb2_grpc, endpoint_pb2
from sartor.evaluation.v1 import evaluation_events_pb2
from sartor.training.v1 import training_events_pb2
from sartor_datasets.manifests import (
    BaseModelManifest,
    ManifestFile,
    ModelVersionManifest,
    ObjectReference,
    base_model_digest,
)
from sartor_datasets.reference_outputs import ReferenceOutput, write_reference_outputs
from sartor_local import probes
from sartor_local.ports import free_port
from sartor_platform.grpc_client import channel

from tests.conftest import Servers
from tests.ending import end
from tests.tiny_model import make_tiny_model

T = TypeVar("T")
WAIT_SECONDS = 150.0
QUESTIONS = (
    ("How do I reset my password?", "Open the settings page and choose reset password."),
    ("Where is my order?", "Your order is on its way and arrives within three days."),
    ("Wo ist meine Bestellung?", "Ihre Bestellung ist unterwegs und kommt in drei Tagen an."),
    ("What is the capital of France?", "Paris."),
)


def eventually(look: Callable[[], T | None], what: str, seconds: float = WAIT_SECONDS) -> T:
    """What `look` returns once it is truthy."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what} did not happen within {seconds} s")


@dataclass(frozen=True)
class Turn:
    """One message."""

    role: str
    content: str


@dataclass(frozen=True)
class Names:
    """What a test module calls its things. All modules of a process share the broker: no two are the same."""

    project: str

    @property
    def parent(self) -> str:
        """The project's resource name."""
        return f"projects/{self.project}"

    @property
    def model(self) -> str:
        """The model that is deployed."""
        return f"{self.parent}/models/assistant"

    @property
    def endpoint(self) -> str:
        """Where it is deployed."""
        return f"{self.parent}/endpoints/support"


@dataclass(frozen=True)
class Event:
    """What tests look at of an event."""

    type: str
    run: str
    data: dict[str, Any]


def read_events(consumer: KafkaConsumer, seen: dict[str, Event]) -> None:
    """Add what deployment told since, each event once: delivery is at least once, its id tells it again."""
    for batch in consumer.poll(timeout_ms=200).values():
        for record in batch:
            headers = {key: value.decode(errors="replace") for key, value in record.headers}
            if headers.get("ce_source") != "/sartor/deployment":
                continue
            event = Event(headers["ce_type"], headers.get("ce_sartorrun", ""), json.loads(record.value))
            seen.setdefault(headers["ce_id"], event)


@dataclass
class Deployment:
    """The processes of deployment, and what a test needs around them."""

    names: Names
    environment: dict[str, str]
    folder: Path
    base: Path
    client: Any
    producer: KafkaProducer
    events: KafkaConsumer
    objects: Minio
    bucket: str
    gateway_url: str
    ports: dict[str, int]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    seen: dict[str, Event] = field(default_factory=dict)
    base_manifest: ObjectReference | None = None

    # --- processes ---

    def start(self, *roles: str) -> None:
        """Start these roles and wait until they are ready."""
        for role in roles:
            log = (self.folder / f"{role}.log").open("ab")
            environment = {**self.environment, "SARTOR_METRICS_BIND": f"127.0.0.1:{self.ports[role]}"}
            self.processes[role] = subprocess.Popen(
                [sys.executable, "-m", "sartor_deployment", role], env=environment, stdout=log, stderr=log
            )
        for role in roles:
            self.wait_ready(role)

    def wait_ready(self, role: str) -> None:
        """Until its health check passes."""
        probe = probes.http_ok(self.ports[role])
        if role == "server":
            probe = probes.grpc_serving(self.ports["grpc"])
        if role == "gateway":
            probe = probes.http_ok(self.ports["http"])

        def ready() -> bool:
            assert self.processes[role].poll() is None, (self.folder / f"{role}.log").read_text()[-3000:]
            with contextlib.suppress(probes.NotReady):
                probe()
                return True
            return False

        eventually(ready, f"{role} is ready")

    def stop(self, *roles: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End these roles."""
        end([self.processes.pop(role) for role in roles], how)

    # --- what training and evaluation do ---

    def put(self, name: str, data: bytes) -> ObjectReference:
        """An object under a fresh key."""
        key = f"tests/{uuid.uuid4().hex}/{name}"
        self.objects.put_object(self.bucket, key, io.BytesIO(data), len(data))
        return ObjectReference(f"s3://{self.bucket}/{key}", hashlib.sha256(data).hexdigest(), len(data))

    def publish(self, topic: str, message: Any, run: str = "run-1") -> None:
        """An event as another service sends it."""
        attributes = {
            "content-type": "application/json",
            "ce_specversion": "1.0",
            "ce_id": uuid.uuid4().hex,
            "ce_source": "/sartor/tests",
            "ce_type": message.DESCRIPTOR.full_name,
            "ce_sartorrun": run,
            "ce_sartorgeneration": "1",
        }
        headers = [(name, value.encode()) for name, value in attributes.items()]
        self.producer.send(topic, MessageToJson(message).encode(), key=b"tests", headers=headers)
        self.producer.flush(20)

    def publish_base_model(self) -> None:
        """The tiny model, prepared."""
        files = tuple(
            ManifestFile(path.name, self.put(path.name, path.read_bytes()))
            for path in sorted(self.base.iterdir())
        )
        manifest = BaseModelManifest(
            name=f"{self.names.parent}/baseModels/tiny",
            reference="file:tiny",
            digest=base_model_digest(files),
            files=files,
            architecture="LlamaForCausalLM",
            context_length=512,
            vocabulary_size=512,
            license="",
            chat_template=True,
        )
        self.base_manifest = self.put("base.json", manifest.to_json())
        self.publish(
            "sartor.training.v1",
            training_events_pb2.BaseModelReady(
                base_model=manifest.name, digest=manifest.digest, manifest=_proto(self.base_manifest)
            ),
        )

    def publish_version(
        self, version: str, adapter: Path, *, run: str = "run-1", curation: str = "c0"
    ) -> str:
        """A trained model version. Returns its name."""
        name = f"{self.names.model}/versions/{version}"
        files = tuple(
            ManifestFile(path.name, self.put(path.name, path.read_bytes()))
            for path in sorted(adapter.iterdir())
        )
        manifest = ModelVersionManifest(
            name=name,
            training_job=f"{self.names.parent}/trainingJobs/{version}",
            method="sft",
            base_model=f"{self.names.parent}/baseModels/tiny",
            base_model_digest="",
            curation="",
            snapshot="",
            recipe={},
            files=files,
            metrics={},
            library_versions={},
            seed=1,
            create_time=datetime.now(UTC),
        )
        assert self.base_manifest is not None
        self.publish(
            "sartor.training.v1",
            training_events_pb2.ModelVersionCreated(
                model_version=name,
                model=self.names.model,
                manifest=_proto(self.put("version.json", manifest.to_json())),
                base_model_manifest=_proto(self.base_manifest),
                curation=f"{self.names.parent}/curations/{curation}",
            ),
            run,
        )
        return name

    def approve(
        self,
        name: str,
        adapter: Path,
        *,
        run: str = "run-1",
        outputs: list[ReferenceOutput] | None = None,
    ) -> None:
        """What the gate says, with the outputs of the model that it evaluated: base and this adapter."""
        path = self.folder / "references.jsonl"
        write_reference_outputs(path, name, outputs or reference_outputs(self.base, adapter))
        references = self.put("references.jsonl", path.read_bytes())
        self.publish(
            "sartor.evaluation.v1",
            evaluation_events_pb2.ModelVersionApproved(
                model_version=name, model=self.names.model, reference_outputs=_proto(references)
            ),
            run,
        )

    # --- what a test asks ---

    def endpoint(self) -> endpoint_pb2.Endpoint:
        """As it stands."""
        return self.client.GetEndpoint(api.GetEndpointRequest(name=self.names.endpoint))

    def revisions(self) -> list[endpoint_pb2.Revision]:
        """Newest first."""
        return list(self.client.ListRevisions(api.ListRevisionsRequest(parent=self.names.endpoint)).revisions)

    def revision_of(self, version: str) -> endpoint_pb2.Revision | None:
        """The newest revision of a version."""
        return next((revision for revision in self.revisions() if revision.model_version == version), None)

    def settled(self, version: str) -> endpoint_pb2.Revision:
        """The revision of a version, once it is live or rejected."""
        states = (endpoint_pb2.REVISION_STATE_LIVE, endpoint_pb2.REVISION_STATE_REJECTED)

        def look() -> endpoint_pb2.Revision | None:
            revision = self.revision_of(version)
            return revision if revision is not None and revision.state in states else None

        return eventually(look, f"{version} is settled")

    def published(self, kind: str) -> list[dict[str, Any]]:
        """What was published of this type so far, by other modules too."""
        read_events(self.events, self.seen)
        return [each.data for each in self.seen.values() if each.type == f"sartor.deployment.v1.{kind}"]

    def event(self, kind: str, **fields: str) -> dict[str, Any]:
        """The event of this type whose fields are these, once it is published."""

        def look() -> dict[str, Any] | None:
            return next((data for data in self.published(kind) if fields.items() <= data.items()), None)

        return eventually(look, f"{kind} of {fields}")

    def decided(self, revision: str) -> list[dict[str, Any]]:
        """The decisions about this revision that were published so far, in their order."""
        told = [data["decision"] for data in self.published("RolloutDecided")]
        return [each for each in told if each["revision"] == revision]

    def engine_pids(self) -> list[int]:
        """Processes of the engines that the agent started."""
        import psutil

        found: list[int] = []
        for child in psutil.Process(self.processes["agent"].pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if "sartor_deployment.engine" in " ".join(child.cmdline()):
                    found.append(child.pid)
        return found

    def engines_ready(self, *revisions: str) -> set[int]:
        """Processes of these revisions' engines that answer, as the agent told last."""
        with psycopg.connect(self.environment["SARTOR_DATABASE_URL"]) as connection:
            query = "SELECT pid FROM deployment.engines WHERE state = 'READY' AND revision = ANY(%s)"
            return {pid for (pid,) in connection.execute(query, [list(revisions)])}


def _proto(reference: ObjectReference) -> object_reference_pb2.ObjectReference:
    return object_reference_pb2.ObjectReference(
        uri=reference.uri, sha256=reference.sha256, size_bytes=reference.size_bytes
    )


def make_adapter(base: Path, folder: Path, seed: int) -> Path:
    """A LoRA adapter in peft's format whose weights are random: it changes what the tiny model says."""
    import torch
    from safetensors.torch import safe_open, save_file

    generator = torch.Generator().manual_seed(seed)
    weights = {}
    with safe_open(base / "model.safetensors", framework="pt") as handle:
        for name in handle.keys():  # noqa: SIM118 - safe_open is no dictionary
            if name.endswith(("q_proj.weight", "down_proj.weight")):
                out_size, in_size = handle.get_tensor(name).shape
                module = f"base_model.model.{name.removesuffix('.weight')}"
                weights[f"{module}.lora_A.weight"] = torch.randn(4, in_size, generator=generator) * 0.3
                weights[f"{module}.lora_B.weight"] = torch.randn(out_size, 4, generator=generator) * 0.3
    folder.mkdir()
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": ["q_proj", "down_proj"],
        "base_model_name_or_path": "",
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def reference_outputs(base: Path, adapter: Path) -> list[ReferenceOutput]:
    """What base and adapter say to the questions, as evaluation writes it."""
    import torch
    from sartor_models.chat_format import encode_answer
    from sartor_models.load import load_model, load_tokenizer

    torch.set_num_threads(1)
    model = load_model(base, torch.float32, adapter)
    tokenizer = load_tokenizer(base)
    outputs = []
    for number, (question, text) in enumerate(QUESTIONS):
        turns = [Turn("user", question), Turn("assistant", text)]
        prompt, answer = encode_answer(tokenizer, turns)
        with torch.inference_mode():
            logits = model(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1].float()
        likelihood = logits.log_softmax(-1)
        outputs.append(
            ReferenceOutput(
                item_id=f"item-{number}",
                messages=({"role": "user", "content": question},),
                answer=text,
                prompt_token_ids=tuple(prompt),
                answer_token_ids=tuple(answer),
                top1_token_ids=tuple(likelihood.argmax(-1).tolist()),
                answer_loss_sum=-float(likelihood[range(len(answer)), answer].sum()),
            )
        )
    return outputs


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared tiny model."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny", hidden=128)


@pytest.fixture(scope="session")
def adapters(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path]:
    """Three adapters that say different things."""
    folder = tmp_path_factory.mktemp("adapters")
    return [make_adapter(tiny_base, folder / str(seed), seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def deployment(
    fresh_stack: Servers,
    tiny_base: Path,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Deployment]:
    """All four processes, an endpoint, and a prepared base model. The module says its `NAMES`."""
    names: Names = request.module.NAMES
    folder = tmp_path_factory.mktemp("deployment")
    ports = {name: free_port() for name in ("grpc", "http", "server", "worker", "agent", "gateway")}
    gateway_url = f"http://127.0.0.1:{ports['http']}/v1"
    environment = {
        **os.environ,
        **fresh_stack.environment(),
        "SARTOR_DATA_DIR": str(folder / "data"),
        "SARTOR_GRPC_BIND": f"127.0.0.1:{ports['grpc']}",
        "SARTOR_GATEWAY_BIND": f"127.0.0.1:{ports['http']}",
        "SARTOR_GATEWAY_URL": gateway_url,
        "SARTOR_GATEWAY_WAIT_SECONDS": "60",
        "SARTOR_LOG_JSON": "true",
    }
    kafka = fresh_stack.kafka_bootstrap_servers
    target = channel(f"127.0.0.1:{ports['grpc']}")
    made = Deployment(
        names=names,
        environment=environment,
        folder=folder,
        base=tiny_base,
        client=deployment_service_pb2_grpc.DeploymentServiceStub(target),
        producer=KafkaProducer(bootstrap_servers=kafka, acks="all", enable_idempotence=True),
        events=KafkaConsumer(
            "sartor.deployment.v1",
            bootstrap_servers=kafka,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            group_id=None,
        ),
        objects=Minio(
            fresh_stack.s3_endpoint.removeprefix("http://"),
            access_key=fresh_stack.s3_access_key,
            secret_key=fresh_stack.s3_secret_key,
            secure=False,
        ),
        bucket=fresh_stack.s3_bucket,
        gateway_url=gateway_url,
        ports=ports,
    )
    try:
        made.start("server")
        made.start("worker", "agent", "gateway")
        made.client.ApplyEndpoint(
            api.ApplyEndpointRequest(
                endpoint=endpoint_pb2.Endpoint(
                    name=names.endpoint,
                    model=names.model,
                    # Random weights rank tokens by a hair: eight bits change more of their favourites.
                    parity=endpoint_pb2.ParityBounds(loss_margin=0.05, top1_agreement=0.85),
                    engine=endpoint_pb2.EngineSettings(context_length=256, slots=2, threads=1),
                )
            )
        )
        made.publish_base_model()
        yield made
    finally:
        made.stop(*list(made.processes))
        made.producer.close(5)
        made.events.close()
        target.close()
