"""Publishes the example's records as data events on Kafka, as another system would: with kafka-python alone.

python publish.py --bootstrap-servers localhost:9092 --project support-desk --source tickets

A data event is a CloudEvent whose data names the source and carries a few records in the source's own words:
{"source": "projects/P/sources/S", "records": [{...}, ...]}. Most events here are in binary mode (attributes
are Kafka headers, the value is the data); the last is in structured mode (it is one JSON object), to show
that too. An event's id depends on its content alone, so publishing twice does no harm.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Any

from kafka import KafkaProducer

TOPIC = "sartor.data"
TYPE = "sartor.ingestion.v1.RecordsPublished"
SIZES = (1, 4, 2, 5, 3)  # records an event: systems send what they have, sometimes one, sometimes a few

Headers = list[tuple[str, bytes]]


def events(rows: list[dict[str, Any]], source: str, origin: str) -> Iterator[tuple[dict[str, str], bytes]]:
    """CloudEvents attributes and data of each event."""
    sizes = cycle(SIZES)
    while rows:
        size = next(sizes)
        data = json.dumps({"source": source, "records": rows[:size]}, ensure_ascii=False).encode()
        rows = rows[size:]
        yield (
            {
                "specversion": "1.0",
                "id": hashlib.sha256(data).hexdigest()[:32],
                "source": origin,
                "type": TYPE,
                "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            },
            data,
        )


def binary_mode(attributes: dict[str, str], data: bytes) -> tuple[bytes, Headers]:
    headers = [(f"ce_{name}", value.encode()) for name, value in attributes.items()]
    return data, [*headers, ("content-type", b"application/json")]


def structured_mode(attributes: dict[str, str], data: bytes) -> tuple[bytes, Headers]:
    event = {**attributes, "datacontenttype": "application/json", "data": json.loads(data)}
    return json.dumps(event, ensure_ascii=False).encode(), [("content-type", b"application/cloudevents+json")]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bootstrap-servers", required=True, metavar="HOST:PORT,...")
    parser.add_argument("--project", required=True, help="the Sartor project, such as support-desk")
    parser.add_argument("--source", required=True, help="its source, such as tickets")
    parser.add_argument("--topic", default=TOPIC)
    parser.add_argument(
        "--records", type=Path, default=Path(__file__).with_name("records.jsonl"), metavar="FILE.jsonl"
    )
    asked = parser.parse_args()

    rows = [
        json.loads(line) for line in asked.records.read_text(encoding="utf-8").splitlines() if line.strip()
    ]
    source = f"projects/{asked.project}/sources/{asked.source}"
    made = list(events(rows, source, origin="/velumo/ticket-system"))
    producer = KafkaProducer(
        bootstrap_servers=asked.bootstrap_servers.split(","),
        client_id="velumo-ticket-system",
        acks="all",
        enable_idempotence=True,
        linger_ms=20,
    )
    try:
        sent = []
        for number, (attributes, data) in enumerate(made, 1):
            mode = structured_mode if number == len(made) else binary_mode
            value, headers = mode(attributes, data)
            sent.append(producer.send(asked.topic, key=source.encode(), value=value, headers=headers))
        producer.flush(timeout=60)
        for future in sent:
            future.get(timeout=60)  # raises what went wrong with this event
    finally:
        producer.close(timeout=10)
    print(f"published {len(rows)} records in {len(made)} events on {asked.topic} for {source}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
