"""Builds folders of manifests as a GitOps controller would: by kubectl, without a network or a cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

_INSTALLED = Path(sys.prefix) / "share" / "sartor" / "kubectl" / "kubectl"
KUBECTL = shutil.which("kubectl") or shutil.which(_INSTALLED)
MISSING = "there is no kubectl, so no manifest was built: `make kubectl` brings one on Linux (x86-64)"

needs_kubectl = pytest.mark.skipif(KUBECTL is None and not os.environ.get("CI"), reason=MISSING)
"""Where continuous integration lacks it, these tests fail: nobody would see them skipped."""


def kustomize(folder: Path) -> list[dict[str, Any]]:
    """The resources that a folder comes to."""
    assert KUBECTL is not None, MISSING
    done = subprocess.run([KUBECTL, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return list(yaml.safe_load_all(done.stdout))
