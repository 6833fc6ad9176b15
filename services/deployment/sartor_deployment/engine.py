"""One engine: llama.cpp's own HTTP server for one GGUF file, and an adapter on top (`python -m …engine`).

It says where it listens in one JSON line on standard output, `{"host": …, "port": …}`, then answers until it
is told to end or its parent dies. Imports nothing of Sartor's, to start fast and stay small.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

_PR_SET_PDEATHSIG = 1
_PROMPT_CACHE_MIB = 128


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM."""
    given = _arguments(argv)
    die_with(given.parent)
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    import xllamacpp

    try:
        server = xllamacpp.Server(_parameters(xllamacpp, given))
    except RuntimeError as error:  # llama.cpp has said why, on standard error
        sys.stderr.write(f"{error}\n")
        return 1
    address = urlsplit(server.listening_address)
    sys.stdout.write(json.dumps({"host": address.hostname, "port": address.port}) + "\n")
    sys.stdout.flush()
    signal.sigwait(stop)
    # The kernel takes back memory and sockets at once; the server's own teardown waits for open streams.
    os._exit(0)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--adapter", default="")
    parser.add_argument("--alias", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--parent", type=int, default=0)
    return parser.parse_args(argv)


def _parameters(xllamacpp: Any, given: argparse.Namespace) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = given.model
    if given.adapter:
        adapter = xllamacpp.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = given.adapter, 1.0
        parameters.lora_adapters = [adapter]
        # Weights laid out anew for this processor would be a copy of its own for each engine.
        parameters.no_extra_bufts = True
    parameters.model_alias = {given.alias}
    parameters.hostnames = [given.host]
    parameters.port = given.port
    parameters.n_ctx = given.context * given.slots  # the server divides it among the slots
    parameters.n_parallel = given.slots
    parameters.fit_params = False  # it would shrink the context quietly
    parameters.use_jinja = True  # the model's own chat template, as in training, with its place for tools
    parameters.ui = False
    parameters.cache_ram_mib = _PROMPT_CACHE_MIB
    parameters.verbosity = 1  # errors
    threads = given.threads or os.cpu_count() or 1
    for cpu in (parameters.cpuparams, parameters.cpuparams_batch):
        cpu.n_threads = threads
        cpu.poll = 0  # threads that wait sleep: a machine that does other work too is faster so
    return parameters


def die_with(parent: int) -> None:
    """Let the kernel end this process when its parent ends."""
    if parent and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
