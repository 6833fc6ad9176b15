"""A quote reads as people ask: how long, how much, and what of each row is learned."""

from __future__ import annotations

from sartor.training.v1.training_quote_pb2 import LabelAudit, LabelSample, LabelSpan, TrainingQuote
from sartor_cli.train import quote_lines


def test_a_quote_shows_time_memory_and_what_is_learned() -> None:
    told = TrainingQuote(
        tokens=40_000,
        steps=160,
        tokens_per_second=320,
        peak_memory_bytes=3 << 30,
        device="cpu",
        audit=LabelAudit(
            rows=500,
            rows_without_labels=20,
            supervised_share=0.25,
            refusal="20 of 500 rows teach nothing",
            samples=[LabelSample(spans=[LabelSpan(text="[user] Hi"), LabelSpan(text="Hello", learned=True)])],
        ),
    )
    told.duration.FromSeconds(125)
    text = "\n".join(quote_lines(told))
    assert "40,000 in 160 steps" in text
    assert "320 tokens/s on cpu" in text
    assert "3.0 GiB" in text
    assert "25% of the tokens" in text
    assert "[red]refused" in text
    assert "[green]Hello[/]" in text
    assert r"\[user] Hi" in text  # what the data says is no markup
