"""The model that a training teaches: loaded, with adapters or whole, new or from an earlier version, and
saved
again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from sartor_models.adapters import LoraAdapter, adapter_weights, add_lora, save_adapter
from sartor_models.base import save_tuned
from sartor_models.chat_templates import CHAT_TEMPLATES
from sartor_models.errors import ModelError
from sartor_models.load import load_adapter, load_model
from sartor_models.packed_rows import pack_rows

from sartor_training.methods.fast_layers import speed_up
from sartor_training.methods.method import Sources
from sartor_training.recipe import Recipe

Save = Callable[[Mapping[str, torch.Tensor], Path], Mapping[str, float]]


def taught_model(sources: Sources, recipe: Recipe, device: str) -> tuple[Any, dict[str, torch.nn.Parameter]]:
    """Model and the weights to be taught, by name.

    Raises:
        ModelError: START_UNUSABLE where the earlier version is of another kind, GPU_NEEDED for four bits.
    """
    if recipe.adapter == "qlora":
        model = _in_four_bits(sources.base, device)
    else:
        model = load_model(_weights(sources, recipe), device=device)
    if recipe.adapter == "full":
        model.requires_grad_(True)
        parameters = dict(model.named_parameters())
    else:
        if sources.start is not None:
            _check_start(sources.start, recipe)
            model = load_adapter(model, sources.start, trainable=True)
        else:
            model = add_lora(model, adapter_of(recipe), recipe.seed)
        parameters = adapter_weights(model)
    prepare_for(device, model)
    return model, parameters


def prepare_for(device: str, model: Any) -> None:
    """Make the model's passes fast on this device: our own layers on a CPU, packed rows elsewhere."""
    if device == "cpu":
        speed_up(model)
    else:
        pack_rows(model)


def adapter_of(recipe: Recipe) -> LoraAdapter:
    """The adapter that the recipe describes; four bits are the base model's, not the adapter's."""
    kind = "lora" if recipe.adapter == "qlora" else recipe.adapter
    return LoraAdapter(recipe.rank, recipe.alpha, recipe.dropout, kind=kind)


def saver(sources: Sources, recipe: Recipe) -> Save:
    """Writes the taught weights: an adapter, or a whole model."""

    def save(weights: Mapping[str, torch.Tensor], folder: Path) -> Mapping[str, float]:
        if recipe.adapter == "full":
            save_tuned(sources.base, weights, folder)
        else:
            save_adapter(folder, adapter_of(recipe), weights, base_model=sources.base_model)
        return {}

    return save


def with_template(save: Save, recipe: Recipe) -> Save:
    """Also writes the chat template that the recipe names: the base model has none."""

    def saved(weights: Mapping[str, torch.Tensor], folder: Path) -> Mapping[str, float]:
        figures = save(weights, folder)
        if recipe.chat_template:
            template = CHAT_TEMPLATES[recipe.chat_template]
            (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
        return figures

    return saved


def load_weights(parameters: Mapping[str, torch.nn.Parameter], weights: Mapping[str, torch.Tensor]) -> None:
    """Put a training's best weights back into its model."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])


def _weights(sources: Sources, recipe: Recipe) -> Path:
    if recipe.adapter != "full" or sources.start is None:
        return sources.base
    if not (sources.start / "config.json").exists():
        raise _unusable("it is an adapter, and this recipe teaches all weights; write adapter: lora")
    return sources.start


def _check_start(start: Path, recipe: Recipe) -> None:
    try:
        config = json.loads((start / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unusable(
            "it is a whole model, and this recipe teaches an adapter; write adapter: full"
        ) from error
    adapter = adapter_of(recipe)
    wanted = {
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "use_rslora": adapter.kind == "rslora",
        "use_dora": adapter.kind == "dora",
    }
    other = [
        f"{key} is {config.get(key)!r} there" for key, value in wanted.items() if config.get(key) != value
    ]
    if other:
        raise _unusable(f"its adapter has another shape ({', '.join(other)}); give the recipe the same")


def _unusable(why: str) -> ModelError:
    return ModelError(f"The version in start_from cannot be taught on: {why}.", reason="START_UNUSABLE")


def _in_four_bits(base: Path, device: str) -> Any:
    if device != "cuda":
        raise ModelError(
            "adapter: qlora keeps the base model in four bits, which needs a CUDA device; this worker has "
            "none. Write adapter: lora, or run a worker on a machine with a GPU.",
            reason="GPU_NEEDED",
        )
    from sartor_models.load import load_in_four_bits

    return load_in_four_bits(base)
