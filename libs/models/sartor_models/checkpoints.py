"""Training checkpoints as safetensors and JSON: no pickle, so that a file from the object store can run
nothing."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sartor_models.errors import ModelError

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything a later attempt needs to go on bit for bit.

    `tensors` holds weights ("weights/NAME"), optimizer state ("optimizer/KEY/NAME") and the random
    generator's state
    ("random/torch"); `state` what is plain data: step, epoch, position in the data, schedule, best loss.
    """

    tensors: Mapping[str, torch.Tensor]
    state: Mapping[str, Any]

    def part(self, prefix: str) -> dict[str, torch.Tensor]:
        """The tensors under "prefix/", without the prefix."""
        return {
            name.removeprefix(prefix + "/"): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix + "/")
        }


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> Path:
    """Write one file `path` (a .safetensors whose metadata carries the state); it appears complete or not at
    all."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in sorted(checkpoint.tensors.items())
    }
    save_file(
        tensors,
        partial,
        metadata={
            "format": "pt",
            "sartor": str(FORMAT),
            "state": json.dumps(dict(checkpoint.state), sort_keys=True),
        },
    )
    os.replace(partial, path)
    return path


def load_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in `path`.

    Raises:
        ModelError: CHECKPOINT_INVALID.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as handle:
            metadata = handle.metadata() or {}
            if metadata.get("sartor") != str(FORMAT):
                raise ModelError(
                    f"{path.name} is no checkpoint of this version of Sartor.", reason="CHECKPOINT_INVALID"
                )
            return Checkpoint(
                {name: handle.get_tensor(name) for name in sorted(handle.keys())},
                json.loads(metadata["state"]),
            )
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"The checkpoint {path.name} is unreadable: {error}", reason="CHECKPOINT_INVALID"
        ) from error
