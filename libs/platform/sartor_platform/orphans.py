"""A helper process ends when its parent has ended: one that was killed cannot say goodbye."""

from __future__ import annotations

import os
import threading
import time


def end_with(parent: int) -> None:
    """Watch the parent, by process id, in a thread; for the initializer of a pool."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
