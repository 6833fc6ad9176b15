"""A process of a later release, whose events have fields and types that this release does not know.

Started by test_version_skew.py with the later release's generated code first in PYTHONPATH. Publishes two
events, and tells what it makes of an event of this release.
"""

from __future__ import annotations

import json
import os
import sys
import threading

from sartor.training.v1 import training_events_pb2
from sartor_platform.database import Database
from sartor_platform.listen import Listener
from sartor_platform.outbox import Relay
from sartor_platform.settings import PlatformSettings, read
from sartor_platform.topics import Topics
from sartor_platform.watchdog import Watchdog
from sqlalchemy import text


def main() -> None:
    """Publish, wait until the broker has it, and end."""
    settings = read(PlatformSettings)
    database = Database(settings.database_url, os.environ["NEXT_SERVICE"])
    ready = training_events_pb2.BaseModelReady(base_model="projects/p/baseModels/b", quantization="int8")
    retired = training_events_pb2.BaseModelRetired(base_model="projects/p/baseModels/b")  # type: ignore[attr-defined]
    with database.transaction() as tx:
        for message in (retired, ready):
            tx.publish(message, subject=message.base_model, run="run-1")
    listener, topics = Listener(database), Topics(settings)
    relay = Relay(database, settings, topics, listener, Watchdog())
    relay.start()
    published = threading.Event()
    while not published.wait(0.1):
        with database.read() as connection:
            left = connection.execute(text("SELECT count(*) FROM outbox WHERE published_time IS NULL"))
            if left.scalar_one() == 0:
                published.set()
    relay.stop()
    topics.close()
    database.close()
    older = training_events_pb2.BaseModelReady.FromString(bytes.fromhex(os.environ["OLDER_EVENT"]))
    sys.stdout.write(json.dumps({"base_model": older.base_model, "quantization": older.quantization}))


if __name__ == "__main__":
    main()
