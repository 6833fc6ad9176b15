"""Proves that libs/protos/sartor is what protos/ generates now; run by `make lint`."""

from __future__ import annotations

import filecmp
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from generate import generate


def main() -> int:
    """Returns 1 and names the files that differ, or 0."""
    committed = Path(__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        roots = (committed, fresh)
        names = {path.relative_to(root) for root in roots for path in (root / "sartor").rglob("*.py*")}
        names = {name for name in names if "__pycache__" not in name.parts}
        stale = [n for n in sorted(names) if not _same(committed / n, fresh / n)]
    for name in stale:
        sys.stderr.write(f"libs/protos/{name} is not what protos/ generates now: run `make protos`\n")
    return 1 if stale else 0


def _same(left: Path, right: Path) -> bool:
    return left.exists() and right.exists() and filecmp.cmp(left, right, shallow=False)


if __name__ == "__main__":
    raise SystemExit(main())
