"""The server and the worker's parent process stay small: what only the work needs is imported there."""

import subprocess
import sys

HEAVY = ("pyarrow", "numpy", "ftfy", "py3langid", "phonenumbers", "tokenizers", "torch", "transformers")


def test_server_and_worker_import_nothing_that_only_the_work_needs() -> None:
    program = f"import sys, sartor_curation.__main__; print([n for n in {HEAVY!r} if n in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_the_work_itself_needs_no_torch() -> None:
    heavy = ("torch", "transformers")
    program = f"import sys, sartor_curation.curation_job; print([n for n in {heavy!r} if n in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
