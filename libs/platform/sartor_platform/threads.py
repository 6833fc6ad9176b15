"""A process one of whose threads died of an unforeseen fault ends, to be started again whole."""

from __future__ import annotations

import os
import threading

from sartor_platform import log

THREAD_DIED = 70


def end_process_with_its_threads(stop: threading.Event) -> None:
    """From now on an exception that no thread has caught ends the process, unless it is ending anyway."""

    def died(about: threading.ExceptHookArgs) -> None:
        if about.exc_type is SystemExit or stop.is_set():
            return
        error = about.exc_value or about.exc_type()
        name = about.thread.name if about.thread is not None else ""
        log.get().critical("thread.died", thread=name, error=log.brief(error), exc_info=error)
        os._exit(THREAD_DIED)

    threading.excepthook = died
