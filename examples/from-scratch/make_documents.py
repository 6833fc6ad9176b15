"""Writes documents.jsonl: a corpus that is on every machine, the documentation inside Python's standard
library.

The same Python gives the same bytes. It is under Python's own license (PSF-2.0).
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path

LEAST_CHARACTERS = 200
LEFT_OUT = ("test", "tests", "idlelib", "site-packages", "lib2to3", "__phello__")


def main() -> int:
    """Write one document a module or class that says enough about itself."""
    library = Path(sysconfig.get_path("stdlib"))
    target = Path(__file__).parent / "documents.jsonl"
    seen: set[str] = set()
    with target.open("w", encoding="utf-8") as handle:
        for name, text in _documents(library):
            key = hashlib.sha256(text.encode()).hexdigest()[:16]
            if key not in seen:
                seen.add(key)
                row = {"id": key, "module": name, "text": text}
                handle.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(f"{len(seen)} documents in {target}")
    return 0


def _documents(library: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(library.rglob("*.py")):
        name = path.relative_to(library).with_suffix("").as_posix()
        if any(part in LEFT_OUT for part in path.relative_to(library).parts):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = inspect.cleandoc(ast.get_docstring(node) or "")
                if len(text) >= LEAST_CHARACTERS:
                    yield name, text


if __name__ == "__main__":
    raise SystemExit(main())
