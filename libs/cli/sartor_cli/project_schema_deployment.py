"""What the `deployment` part of a project file may say: endpoint, rollout, what is kept of requests."""

from __future__ import annotations

from dataclasses import dataclass

from yaml.nodes import Node

from sartor_cli.yaml_fields import (
    Choice,
    Flag,
    Id,
    Key,
    ListOf,
    Number,
    Reading,
    Reference,
    Section,
    Text,
    Value,
)

_COUNT = Number(least=0, whole=True)
_SHARE = Number(least=0, most=1)


@dataclass(frozen=True, slots=True)
class Seconds:
    """A span of time, written as a number of seconds."""

    def read(self, node: Node, path: str, target: str, reading: Reading) -> Value | None:
        """As a Duration's JSON has it."""
        seconds = Number(least=0).read(node, path, target, reading)
        return None if seconds is None else f"{seconds:.6f}s"


SMOKE_PROMPT = Section(
    (
        Key("prompt", Text(), required=True),
        Key("expect", ListOf(Text())),
        Key("forbid", ListOf(Text())),
    )
)

ROLLOUT = Section(
    (
        Key("smoke_prompts", ListOf(SMOKE_PROMPT)),
        Key(
            "canary",
            Section(
                (
                    Key("steps", ListOf(Number(least=1, most=99, whole=True))),
                    Key("step_seconds", Seconds(), "step_time"),
                    Key("min_requests", _COUNT),
                    Key("patience_seconds", Seconds(), "patience"),
                )
            ),
        ),
        Key(
            "shadow",
            Section(
                (
                    Key("share", _SHARE),
                    Key("seconds", Seconds(), "time"),
                    Key("min_requests", _COUNT),
                    Key("patience_seconds", Seconds(), "patience"),
                    Key("min_agreement", _SHARE),
                )
            ),
        ),
        Key(
            "stop",
            Section(
                (
                    Key("max_error_increase", _SHARE),
                    Key("max_latency_ratio", Number(least=1)),
                    Key("max_feedback_drop", _SHARE),
                    Key("min_feedback", _COUNT),
                )
            ),
        ),
        Key("approval", Choice("APPROVAL", ("before_canary", "before_promotion"))),
        Key("watch_seconds", Seconds(), "watch"),
    )
)

DRIFT = Section((Key("window", _COUNT), Key("reference", _COUNT), Key("false_alarm_rate", _SHARE)))

LOOP = Section(
    (
        Key("training", Reference("trainingPlans"), "training_plan", required=True),
        Key("curation", Reference("curationPolicies"), "curation_policy", required=True),
        Key("source", Reference("sources"), required=True),
        Key("dataset", Reference("datasets"), required=True),
        Key("on_drift", Flag()),
        Key("min_corrections", _COUNT),
        Key("min_new_records", _COUNT),
        Key("every_seconds", Seconds(), "every"),
        Key(
            "budget",
            Section(
                (
                    Key("runs", _COUNT),
                    Key("training_seconds", Seconds(), "training_time"),
                    Key("period_seconds", Seconds(), "period"),
                )
            ),
        ),
        Key("cool_down_seconds", Seconds(), "cool_down"),
        Key("stage_timeout_seconds", Seconds(), "stage_timeout"),
    )
)

DEPLOYMENT = Section(
    (
        Key("name", Id(), required=True),
        Key("model", Reference("models"), required=True),
        Key(
            "quantization",
            Choice("QUANTIZATION", ("q8_0", "f16", "q5_1", "q5_0", "q4_1", "q4_0", "auto")),
        ),
        Key("weights", Choice("WEIGHTS_FORM", ("merged", "shared_base", "auto")), "weights_form"),
        Key("allowed_loss", Number(least=0)),
        Key("parity", Section((Key("loss_margin", Number(least=0)), Key("top1_agreement", _SHARE)))),
        Key(
            "engine",
            Section(
                tuple(
                    Key(name, _COUNT) for name in ("context_length", "slots", "threads", "replicas", "queue")
                )
            ),
        ),
        Key("rollout", ROLLOUT),
        Key(
            "watching",
            Section(
                (
                    Key("sample_share", _SHARE),
                    Key("retention_seconds", Seconds(), "retention"),
                    Key("drift", DRIFT),
                    Key("evaluate_every_seconds", Seconds(), "evaluate_every"),
                )
            ),
        ),
        Key("loop", LOOP),
    )
)
