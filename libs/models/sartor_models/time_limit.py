"""A time limit on Python code that somebody else wrote, such as a template: it ends with TimeoutError."""

import ctypes
import threading
import time
from types import TracebackType


class TimeLimit:
    """Context manager, for one thread at a time; entering costs a microsecond.

    A watching thread raises TimeoutError inside the block. It takes effect between two Python instructions,
    so one
    long call into C, such as the making of a huge string, is not cut short.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._begun: threading.Event | None = None
        self._ident = 0
        self._deadline = 0.0
        self._raised = False

    def __enter__(self) -> None:
        with self._lock:
            self._ident, self._raised = threading.get_ident(), False
            self._deadline = time.monotonic() + self._seconds
            if self._begun is None:
                self._begun = threading.Event()
                threading.Thread(target=self._watch, name="time-limit", daemon=True).start()
            self._begun.set()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._deadline = 0.0
            late = self._raised and kind is None
        while late:  # the error is under way to this thread: take it here and not somewhere later
            time.sleep(0.001)

    def _watch(self) -> None:
        """Until nothing has begun for a while."""
        assert self._begun is not None
        while self._begun.wait(10.0) or not self._gone():
            with self._lock:
                left = self._deadline - time.monotonic()
                if not self._deadline:
                    self._begun.clear()
                elif left <= 0:
                    self._raised, self._deadline = True, 0.0
                    target = ctypes.c_ulong(self._ident)
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(target, ctypes.py_object(TimeoutError))
            time.sleep(min(max(left, 0.01), self._seconds / 4))

    def _gone(self) -> bool:
        with self._lock:
            if self._begun is not None and not self._begun.is_set():
                self._begun = None
                return True
        return False
