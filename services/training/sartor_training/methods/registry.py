"""The visible table of methods: the recipe's word → what prepares it. One file each."""

from __future__ import annotations

from sartor_training.methods import continued_pretraining, dpo, from_scratch, output_layer, sft
from sartor_training.methods.method import Method

METHODS: dict[str, Method] = {
    "sft": sft.prepare,
    "dpo": dpo.prepare,
    "continued_pretraining": continued_pretraining.prepare,
    "from_scratch": from_scratch.prepare,
    "output_layer": output_layer.prepare,
}
