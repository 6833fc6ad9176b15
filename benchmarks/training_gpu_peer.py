"""TRL with Liger kernels on a CUDA device, in the rivals' environment: the same rows, shape and adapter as
ours. Prints one line of JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main(adapter: str, work: Path) -> dict[str, float]:
    """Tokens a second of `adapter` (lora or full) on `work`/rows.json and the model in `work`/base."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    asked = json.loads((work / "asked.json").read_text(encoding="utf-8"))
    rows = json.loads((work / "rows.json").read_text(encoding="utf-8"))
    lora = LoraConfig(r=16, lora_alpha=32, target_modules=LINEARS, task_type="CAUSAL_LM")
    arguments: dict[str, Any] = {
        "output_dir": str(work / "peer"),
        "per_device_train_batch_size": asked["rows_per_batch"],
        "max_steps": asked["steps"],
        "max_length": asked["length"],
        "learning_rate": 2e-4,
        "bf16": True,
        "use_liger_kernel": True,
        "gradient_checkpointing": False,
        "packing": True,
        "report_to": [],
        "save_strategy": "no",
        "logging_strategy": "no",
    }
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(work / "base", dtype=torch.bfloat16),
        args=SFTConfig(**arguments),
        train_dataset=Dataset.from_list([{"input_ids": row} for row in rows]),
        processing_class=AutoTokenizer.from_pretrained(work / "base"),
        peft_config=lora if adapter == "lora" else None,
    )
    return _clocked(trainer, asked)


def _clocked(trainer: Any, asked: dict[str, int]) -> dict[str, float]:
    """The first two steps warm up."""
    import torch
    from transformers import TrainerCallback

    marks: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            torch.cuda.synchronize()
            marks.append(time.perf_counter())

    trainer.add_callback(Clock())
    trainer.train()
    tokens = asked["rows_per_batch"] * asked["length"] * (len(marks) - 2)
    return {
        "tokens_per_second": tokens / (marks[-1] - marks[1]),
        "memory_gib": torch.cuda.max_memory_allocated() / 2**30,
    }


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
