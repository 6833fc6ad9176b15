"""The rivals' side of the training benchmark, in their own environment; one measurement a process. Prints
one line of
JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.peak import peak_mib
from benchmarks.training_rows import LONGEST, STEPS, TOKENS_PER_BATCH, read_rows

HELD_OUT = 40
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main(name: str, work: Path) -> dict[str, Any]:
    """Measure `name`."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    if name.startswith("sft"):
        return _sft(work, packed=name == "sft-packed", name=name)
    return {"dpo": _dpo, "head": _head}[name](work)


def _lora(task: str = "CAUSAL_LM") -> Any:
    from peft import LoraConfig

    return LoraConfig(r=16, lora_alpha=32, target_modules=LINEARS, task_type=task)


def _arguments(rows_per_batch: int, **more: Any) -> dict[str, Any]:
    return {
        "output_dir": "unused",
        "per_device_train_batch_size": rows_per_batch,
        "max_steps": STEPS + 1,
        "learning_rate": 2e-4,
        "lr_scheduler_type": "cosine",
        "report_to": [],
        "save_strategy": "no",
        "logging_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "seed": 0,
        **more,
    }


def _clocked(trainer: Any, count: Any) -> dict[str, float]:
    """Run it; tokens a second without the first step. `count` says how many real tokens a batch has."""
    from transformers import TrainerCallback

    marks: list[tuple[float, float, float]] = []
    tokens = [0.0]
    collate = trainer.data_collator

    def counted(rows: Any) -> Any:
        batch = collate(rows)
        tokens[0] += float(count(batch))
        return batch

    trainer.data_collator = counted

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks.append((tokens[0], time.perf_counter(), time.process_time()))

    trainer.add_callback(Clock())
    trainer.train()
    (first, begun, cpu), (last, ended, cpu_ended) = marks[0], marks[-1]
    return {
        "tokens_per_second": (last - first) / (ended - begun),
        "tokens_per_cpu_second": (last - first) / (cpu_ended - cpu),
        "memory_mib": peak_mib(),
    }


def _model_and_tokenizer(work: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(work / "base", dtype=torch.bfloat16)
    return model, AutoTokenizer.from_pretrained(work / "base")


def _sft(work: Path, *, packed: bool, name: str) -> dict[str, Any]:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = _model_and_tokenizer(work)
    rows = read_rows(work, "chats")[HELD_OUT:]
    data = Dataset.from_list([{"input_ids": row["ids"], "completion_mask": row["learned"]} for row in rows])
    mean = sum(len(row["ids"]) for row in rows) / len(rows)
    length = 512 if packed else LONGEST
    per_batch = 1 if packed else max(1, round(TOKENS_PER_BATCH / mean))
    config = SFTConfig(
        **_arguments(per_batch, gradient_accumulation_steps=TOKENS_PER_BATCH // length if packed else 1),
        max_length=length,
        packing=packed,
        completion_only_loss=True,
    )
    trainer = SFTTrainer(
        model=model, args=config, train_dataset=data, processing_class=tokenizer, peft_config=_lora()
    )
    found = _clocked(trainer, lambda batch: _real(batch))
    trainer.model.save_pretrained(work / f"peer-{name}")
    return found


def _real(batch: Any) -> float:
    mask = batch.get("attention_mask")
    return float(batch["input_ids"].numel() if mask is None else mask.sum().item())


def _dpo(work: Path) -> dict[str, Any]:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    model, tokenizer = _model_and_tokenizer(work)
    pairs = read_rows(work, "preferences")[:64]
    rows = [
        {name: tokenizer.decode(pair[name]) for name in ("prompt", "chosen", "rejected")} for pair in pairs
    ]
    mean = sum(2 * len(p["prompt"]) + len(p["chosen"]) + len(p["rejected"]) for p in pairs) / len(pairs)
    per_batch = max(1, round(TOKENS_PER_BATCH / mean))
    config = DPOConfig(**_arguments(per_batch, learning_rate=5e-5), beta=0.1, max_length=LONGEST)
    data = Dataset.from_list(rows)
    trainer = DPOTrainer(
        model=model, args=config, train_dataset=data, processing_class=tokenizer, peft_config=_lora()
    )
    return _clocked(trainer, _real)


def _head(work: Path) -> dict[str, Any]:
    import torch
    from datasets import Dataset
    from peft import get_peft_model
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    rows = read_rows(work, "labelled")
    tokenizer = AutoTokenizer.from_pretrained(work / "base")
    labels = 1 + max(row["label"] for row in rows)
    model = AutoModelForSequenceClassification.from_pretrained(
        work / "base", num_labels=labels, dtype=torch.bfloat16
    )
    model.config.pad_token_id = tokenizer.pad_token_id
    mean = sum(len(row["ids"]) for row in rows) / len(rows)
    per_batch = max(1, round(TOKENS_PER_BATCH / mean))
    rows *= -(-per_batch * (STEPS + 1) // len(rows))
    data = Dataset.from_list([{"input_ids": row["ids"], "labels": row["label"]} for row in rows])
    trainer = Trainer(
        model=get_peft_model(model, _lora("SEQ_CLS")),
        args=TrainingArguments(**_arguments(per_batch)),
        train_dataset=data,
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    return _clocked(trainer, _real)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
