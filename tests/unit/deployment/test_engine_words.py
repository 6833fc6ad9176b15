"""What a user reads of an engine that does not run."""

from __future__ import annotations

import pytest
from sartor_deployment.agent.engine_words import in_words

SHA = "0f" * 32


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("signal 9", "it was killed (signal 9): most often because the machine's memory was used up"),
        ("signal 11 | loading", "it crashed (signal 11): loading"),
        (
            f"status 1 | failed to load model '/srv/data/engines/a-1/{SHA}' | bad magic",
            "it ended by itself (status 1): failed to load model 'the weights' | bad magic",
        ),
        (
            '[Errno 2] No such file or directory: "/var/lib/agent/config.json"',
            '[Errno 2] No such file or directory: "config.json"',
        ),
        (
            'status 1 | File "/opt/engine.py", line 3, in main | raise X(y) | ValueError: no tensors',
            "it ended by itself (status 1): ValueError: no tensors",
        ),
        ("the engine answered 500: 3/4 of http://127.0.0.1:80/v1", None),
        ("it did not load its model in 600 s", None),
    ],
)
def test_no_path_and_no_stack_trace_reaches_a_user(said: str, read: str | None) -> None:
    """What it says remains; what is no path is not touched."""
    assert in_words(said) == (read or said)
