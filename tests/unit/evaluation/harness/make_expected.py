"""How expected.json was made: lm-evaluation-harness 0.4.13 on the tiny model of the tests, in float32.

In an environment with lm_eval==0.4.13, torch==2.13.0 and transformers==5.23.0, from the repository's root:

    python -m tests.unit.evaluation.harness.make_expected
"""

import json
import os
import tempfile
from pathlib import Path

from tests.tiny_model import make_tiny_model

HERE = Path(__file__).parent
TASKS = ("choice", "cloze", "rolling", "generate")
CONTEXT = 256


def main() -> None:
    """Runs the four task files and keeps each item's log-likelihoods or answer, and the metrics."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    with tempfile.TemporaryDirectory() as folder:
        model = make_tiny_model(Path(folder) / "model", context=CONTEXT)
        os.environ["HF_HOME"] = folder
        os.chdir(HERE)
        found = simple_evaluate(
            model="hf",
            model_args={"pretrained": str(model), "dtype": "float32"},
            tasks=[f"sartor_{name}" for name in TASKS],
            task_manager=TaskManager(include_path=str(HERE), include_defaults=False),
            batch_size=4,
            device="cpu",
            log_samples=True,
            bootstrap_iters=0,
        )
    kept = {name: _kept(found, f"sartor_{name}") for name in TASKS}
    (HERE / "expected.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _kept(found, task):
    samples = {}
    for sample in found["samples"][task]:
        responses = [one[0] for one in sample["resps"]]
        values = [_plain(one) for one in responses]
        prompt = sample["arguments"][0][0]
        samples[str(sample["doc_id"])] = {"prompt": prompt, "responses": values}
    numbers = {key: value for key, value in found["results"][task].items() if isinstance(value, float)}
    return {"items": samples, "metrics": numbers}


def _plain(response):
    if isinstance(response, tuple | list):
        return [float(response[0]), bool(response[1])]
    return response if isinstance(response, str) else float(response)


if __name__ == "__main__":
    main()
