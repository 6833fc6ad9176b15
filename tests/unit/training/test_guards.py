"""What watches over a training: scarce memory, losses that jump, curves for TensorBoard, no network."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from sartor_models.adapters import LoraAdapter, adapter_weights, add_lora
from sartor_models.chat_format import ChatTokens
from sartor_models.errors import ModelError
from sartor_models.load import load_model
from sartor_training.methods.course import Course
from sartor_training.methods.documents import pack
from sartor_training.methods.loss import log_probabilities
from sartor_training.methods.next_token import NextToken
from sartor_training.methods.passes import Passes
from sartor_training.tensorboard import EventFile, crc32c


class Scarce(NextToken):
    """Runs out of memory where more than two rows come at once."""

    __slots__ = ()

    def loss(self, rows: Any) -> Any:
        if len(rows) > 2:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried …")
        return NextToken.loss(self, rows)


def _passes(tiny: Path, objective: type[NextToken]) -> tuple[Passes, dict[str, torch.nn.Parameter]]:
    model = add_lora(load_model(tiny, torch.float32), LoraAdapter(4, 8.0), 0)
    parameters = adapter_weights(model)
    return Passes(model, parameters, objective(model)), parameters


def test_when_memory_runs_out_the_batch_is_made_in_parts_with_the_same_gradient(tiny: Path) -> None:
    rows = [ChatTokens(tuple(range(20, 24 + n)), (False, *[True] * (n + 3))) for n in range(7)]
    whole, parameters = _passes(tiny, NextToken)
    loss, _ = whole.backward(rows)
    expected = {name: parameter.grad.clone() for name, parameter in parameters.items()}  # type: ignore[union-attr]
    parts, others = _passes(tiny, Scarce)
    assert parts.backward(rows)[0] == pytest.approx(loss, rel=1e-5)
    assert parts.parts == 4
    for name, parameter in others.items():
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, expected[name], atol=1e-6)
    assert parts.mean(rows, 64)[0] == pytest.approx(loss, rel=1e-5)


def test_a_loss_that_jumps_stops_the_training_with_its_rows() -> None:
    course = Course(history=[{"step": n, "loss": 2.0 + 0.01 * n} for n in range(25)], step=25)
    course.check_loss(5.0, 1.0, 4.0, ["a"])
    with pytest.raises(ModelError, match="rows order-7, order-9") as caught:
        course.check_loss(12.0, 1.0, 4.0, ["order-7", "order-9"])
    assert caught.value.reason == "LOSS_SPIKE"
    assert caught.value.metadata["rows"] == "order-7,order-9"
    course.check_loss(12.0, 1.0, 0.0, ["a"])  # zero never stops
    near_zero = Course(history=[{"step": n, "loss": 0.01} for n in range(25)])
    near_zero.check_loss(0.5, 1.0, 4.0, ["a"])


def test_documents_are_packed_whole_and_do_not_learn_from_each_other(tiny: Path) -> None:
    from sartor_models.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(tiny)
    texts = [(f"d{n}", "Where is my order? " * (1 + n % 3)) for n in range(30)] + [("long", "Paris " * 200)]
    rows = pack(tokenizer, texts, 64)
    assert max(len(row.ids) for row in rows.rows) <= 64
    total = sum(len(tokenizer.encode(text)) + 1 for _, text in texts)
    assert rows.tokens == total
    assert rows.cut == 1
    assert rows.tokens / (64 * len(rows.rows)) > 0.9
    for row in rows.rows:
        for before, learned in zip(row.ids, row.supervised[1:], strict=False):
            assert before not in tokenizer.eos_ids or not learned


def test_log_probabilities_and_their_gradients_are_softmaxs() -> None:
    torch.manual_seed(0)
    states = torch.randn(300, 16, requires_grad=True)
    weight, targets, factors = torch.randn(50, 16), torch.randint(0, 50, (300,)), torch.randn(300)
    found = log_probabilities(states, weight, targets)
    expected = torch.log_softmax(states @ weight.T, 1).gather(1, targets[:, None])[:, 0]
    assert torch.allclose(found, expected, atol=1e-5)
    (gradient,) = torch.autograd.grad((found * factors).sum(), states)
    (reference,) = torch.autograd.grad((expected * factors).sum(), states)
    assert torch.allclose(gradient, reference, atol=1e-5)


def test_the_event_file_has_tensorboards_form(tmp_path: Path) -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
    with EventFile(tmp_path) as board:
        board.write(300, {"loss": 1.5})
    data = next(tmp_path.iterdir()).read_bytes()
    records = []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        records.append(data[12 : 12 + length])
        data = data[16 + length :]
    assert b"brain.Event:2" in records[0]
    assert b"loss" in records[1]
    assert struct.pack("<f", 1.5) in records[1]
    assert b"\x10\xac\x02" in records[1]  # field 2, step 300


def test_a_child_reaches_no_other_machine() -> None:
    code = (
        "from sartor_training.isolation import without_network\n"
        "import socket\n"
        "listener = socket.create_server(('127.0.0.1', 0))\n"
        "without_network()\n"
        "try:\n"
        "    socket.create_connection(listener.getsockname(), timeout=2)\n"
        "except OSError as error:\n"
        "    print('refused', type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout.startswith("refused"), done.stderr


class Forgetful(NextToken):
    """Has memory only where activations are not kept."""

    __slots__ = ()

    def loss(self, rows: Any) -> Any:
        if not self.model.is_gradient_checkpointing:
            raise MemoryError("out of memory")
        return NextToken.loss(self, rows)


def test_where_one_row_is_too_much_activations_are_made_again_with_the_same_gradient(tiny: Path) -> None:
    rows = [ChatTokens(tuple(range(20, 24 + n)), (False, *[True] * (n + 3))) for n in range(3)]
    whole, parameters = _passes(tiny, NextToken)
    loss, _ = whole.backward(rows)
    passes, others = _passes(tiny, Forgetful)
    assert passes.backward(rows)[0] == pytest.approx(loss, rel=1e-5)
    assert passes.recomputes
    assert passes.parts == 1
    for name, parameter in others.items():
        expected = parameters[name].grad
        assert parameter.grad is not None
        assert expected is not None
        assert torch.allclose(parameter.grad, expected, atol=1e-6)
