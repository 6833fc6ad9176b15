"""Generates libs/protos/sartor from protos/: modules, type stubs and gRPC code. Run by `make protos`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "protos"
HEADER = '"""Generated from protos/ by libs/protos/generate.py; do not edit."""\n'


def generate(target: Path) -> None:
    """Writes the package `sartor` below `target`, replacing what is there.

    Raises:
        SystemExit: protoc refused a file; its own message says which line.
    """
    with tempfile.TemporaryDirectory(dir=target) as fresh:
        _generate(Path(fresh))  # what is there stays until all of the new is
        shutil.rmtree(target / "sartor", ignore_errors=True)
        (Path(fresh) / "sartor").rename(target / "sartor")


def _generate(target: Path) -> None:
    package = target / "sartor"
    files = sorted(str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.proto"))
    includes = [f"-I{SOURCES}", f"-I{resources.files('grpc_tools') / '_proto'}"]
    outputs = [f"--python_out={target}", f"--mypy_out=quiet:{target}", f"--grpc_python_out={target}"]
    outputs += [f"--mypy_grpc_out=quiet:{target}"]
    status = protoc.main(["protoc", *includes, *outputs, *files])
    if status != 0:
        raise SystemExit(status)
    for source in SOURCES.rglob("*.proto"):
        if not source.stem.endswith("_service"):
            for leftover in (target / source.relative_to(SOURCES)).parent.glob(f"{source.stem}_pb2_grpc.py*"):
                leftover.unlink()
    for folder in [package, *(path for path in package.rglob("*") if path.is_dir())]:
        (folder / "__init__.py").write_text(HEADER)
    (package / "py.typed").touch()


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
