"""Kafka topics: created at start with their dead-letter topics; their ids tell when a broker lost its log."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sartor_platform import log
from sartor_platform.settings import PlatformSettings

DEAD_LETTER_SUFFIX = ".dlq"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic a service consumes.

    In a strict one an event type without a handler is an error, not somebody else's. In one that other
    systems write to, a message without the attributes of a CloudEvent is an event of type `foreign`.
    """

    name: str
    strict: bool = False
    foreign: str = ""


def topic_of(service: str) -> str:
    """The topic a service publishes to."""
    return f"sartor.{service}.v1"


class Topics:
    """Asks and tells the broker about topics. Threads may share it; a lost connection is opened again."""

    def __init__(self, settings: PlatformSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._admin: Any = None
        self.answered_at = 0.0
        """When the broker answered last, by the monotonic clock."""

    def ensure(self, names: Collection[str]) -> None:
        """Create those of these topics, and of their dead-letter topics, that do not exist.

        Raises:
            KafkaError: the broker is not there, or refused.
        """
        from kafka.errors import TopicAlreadyExistsError, for_code

        wanted = [name for topic in names for name in (topic, topic + DEAD_LETTER_SUFFIX)]
        missing = sorted(set(wanted) - set(self.ids(wanted)))
        if not missing:
            return
        shape = {
            "num_partitions": self._settings.topic_partitions,
            "replication_factor": self._settings.topic_replication_factor,
        }
        answer = self._ask(
            lambda admin: admin.create_topics(dict.fromkeys(missing, shape), raise_errors=False)
        )
        for topic in answer["topics"]:
            error = for_code(topic["error_code"])
            if topic["error_code"] and error is not TopicAlreadyExistsError:
                raise error(f"{topic['name']}: {topic['error_message']}")
        log.get().info("topics.created", topics=missing)

    def ids(self, names: Collection[str]) -> dict[str, str]:
        """The id of each of these topics that exists. A topic that was lost and made again has another id."""
        found = self._ask(lambda admin: admin.describe_topics(sorted(names)))
        return {topic["name"]: str(topic["topic_id"]) for topic in found if not topic["error_code"]}

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._drop()

    def _ask(self, question: Any) -> Any:
        from kafka.admin import KafkaAdminClient
        from kafka.errors import KafkaError

        with self._lock:
            try:
                if self._admin is None:
                    self._admin = KafkaAdminClient(**client_settings(self._settings))
                answer = question(self._admin)
                self.answered_at = time.monotonic()
                return answer
            except KafkaError:
                self._drop()
                raise

    def _drop(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            admin.close()


def client_settings(settings: PlatformSettings) -> dict[str, Any]:
    """What every Kafka client is told: where the broker is, and to give up in seconds, not in minutes."""
    security = {
        "security_protocol": settings.kafka_security_protocol,
        "ssl_cafile": settings.kafka_ssl_cafile or None,
        "sasl_mechanism": settings.kafka_sasl_mechanism or None,
        "sasl_plain_username": settings.kafka_sasl_username or None,
        "sasl_plain_password": settings.kafka_sasl_password or None,
    }
    return {
        **security,
        "bootstrap_servers": settings.kafka_bootstrap_servers.split(","),
        "bootstrap_timeout_ms": 5_000,
        "request_timeout_ms": 15_000,
        "reconnect_backoff_max_ms": 1_000,
    }


def producer(settings: PlatformSettings) -> Any:
    """An idempotent producer: acks from all replicas, order kept in partitions, failures known in 20 s."""
    from kafka import KafkaProducer

    return KafkaProducer(
        **client_settings(settings),
        enable_idempotence=True,
        acks="all",
        max_in_flight_requests_per_connection=5,
        allow_auto_create_topics=False,
        batch_size=256 * 1024,
        linger_ms=0,
        max_block_ms=10_000,
        delivery_timeout_ms=20_000,
        metrics_enabled=False,
    )
