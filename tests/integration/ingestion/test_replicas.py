"""Two servers and two workers side by side lose nothing and double nothing."""

from __future__ import annotations

import signal
from pathlib import Path

from sartor_local.ports import free_port

from tests.integration.ingestion.conftest import Ingestion, eventually, serving, start

RECORDS = 1500


def test_two_of_each_and_one_killed_lose_and_double_nothing(
    ingestion: Ingestion, unique_name: str, tmp_path: Path
) -> None:
    source = ingestion.apply(unique_name, at_records=400, quiet_seconds=1.0)
    target = f"127.0.0.1:{free_port()}"
    own = {"SARTOR_GRPC_BIND": target, "SARTOR_DATA_DIR": str(tmp_path / "work")}
    environment = {**ingestion.servers.environment(), **own}
    processes = [start(role, environment, tmp_path / f"{role}.log") for role in ("server", "worker")]
    try:
        eventually(lambda: serving(target), "the second server")
        for number in range(RECORDS):
            row = {"id": number, "text": f"text {number}"}
            ingestion.send("RecordsPublished", {"source": source, "records": [row]}, key=str(number))
            if number == RECORDS // 2:
                ingestion.producer.flush()
                processes[0].send_signal(signal.SIGKILL)
        ingestion.producer.flush()
        eventually(lambda: ingestion.dataset(unique_name).record_count == RECORDS, "the whole dataset", 90)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    newest = ingestion.snapshots(unique_name)[0]
    assert sorted(int(record.record_key) for record in ingestion.read(newest)) == list(range(RECORDS))
    assert newest.sequence >= 2
