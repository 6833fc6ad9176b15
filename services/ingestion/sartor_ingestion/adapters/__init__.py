"""How messages of other systems become rows or objects: one file a system, a pure function of a message."""

from __future__ import annotations

DATA_EVENTS = "data_events"
"""Sartor's own events: no adapter is asked."""
S3_NOTIFICATIONS = "s3_notifications"
DEBEZIUM = "debezium"
OPENAI_REQUESTS = "openai_requests"
OTEL_GENAI = "otel_genai"
ADAPTERS = (DATA_EVENTS, S3_NOTIFICATIONS, DEBEZIUM, OPENAI_REQUESTS, OTEL_GENAI)
