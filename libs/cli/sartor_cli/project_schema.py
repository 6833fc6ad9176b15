"""What a project file may say, part by part: keys, kinds, and the field of the message each one fills."""

from __future__ import annotations

from sartor_cli.project_schema_deployment import DEPLOYMENT
from sartor_cli.yaml_fields import Choice, Flag, Id, Key, ListOf, Number, Reference, Section, Text

_COUNT = Number(least=0, whole=True)
_SECONDS = Number(least=0)
_SHARE = Number(least=0, most=1)

BASE_MODEL = Section(
    (
        Key("name", Id(), required=True),
        Key("reference", Text(), required=True),
    )
)

FORMATS = ("jsonl", "json", "csv", "parquet", "text", "markdown", "html", "pdf", "docx")
ADAPTERS = ("data_events", "s3_notifications", "debezium", "openai_requests", "otel_genai")

FIELD_RULE = Section(
    (
        Key("field", Text(), required=True),
        Key("required", Flag()),
        Key(
            "type",
            Choice("FIELD_TYPE", ("text", "integer", "number", "boolean", "time", "list", "object")),
        ),
        Key("at_least", Number()),
        Key("at_most", Number()),
        Key("min_characters", _COUNT),
        Key("max_characters", _COUNT),
        Key("allowed", ListOf(Text())),
    )
)

CONTRACT = Section(
    (
        Key("fields", ListOf(FIELD_RULE)),
        Key("labels", ListOf(Text())),
        Key("on_breach", Choice("BREACH_ACTION", ("reject", "report", "stop"))),
        Key("max_breach_share", _SHARE),
    )
)

SOURCE = Section(
    (
        Key("name", Id(), required=True),
        Key("dataset", Reference("datasets"), required=True),
        Key("topic", Text()),
        Key("format", Choice("DATA_FORMAT", FORMATS)),
        Key("adapter", Choice("ADAPTER", ADAPTERS)),
        Key("object_prefixes", ListOf(Text())),
        Key("keep_lost_rows", Flag()),
        Key("tables", ListOf(Text())),
        Key("contract", CONTRACT),
        Key(
            "mapping",
            Section(
                (
                    Key(
                        "kind",
                        Choice(
                            "RECORD_KIND",
                            ("auto", "chat", "prompt_completion", "labelled", "document", "preference"),
                        ),
                    ),
                    *(
                        Key(name, Text())
                        for name in (
                            "messages", "prompt", "completion", "system",
                            "text", "label", "key", "subject", "op", "chosen", "rejected",
                        )
                    ),
                    Key("attributes", ListOf(Text())),
                    Key("max_document_characters", Number(least=100, whole=True)),
                )
            ),
        ),
        Key("quota", Section((Key("records", _COUNT, "quota_records"),)), "."),
        Key(
            "snapshot",
            Section(
                (
                    Key("at_records", _COUNT),
                    Key("quiet_seconds", _SECONDS),
                    Key("max_age_seconds", _SECONDS),
                )
            ),
            "snapshot_rule",
        ),
    )
)  # fmt: skip

CURATION = Section(
    (
        Key("name", Id(), required=True),
        Key("dataset", Reference("datasets"), required=True),
        Key("base_model", Reference("baseModels"), required=True),
        Key("languages", ListOf(Text())),
        Key("length", Section((Key("min_characters", _COUNT), Key("max_tokens", _COUNT)))),
        Key("near_duplicates", Section((Key("threshold", _SHARE, "near_duplicate_threshold"),)), "."),
        Key(
            "pii",
            Section((Key("action", Choice("PII_ACTION", ("mask", "drop", "report")), "pii_action"),)),
            ".",
        ),
        Key(
            "contradictions",
            Section(
                (
                    Key(
                        "action",
                        Choice("CONTRADICTION_ACTION", ("drop_minority", "drop_all", "report")),
                        "contradiction_action",
                    ),
                )
            ),
            ".",
        ),
        Key(
            "split",
            Section((Key("validation", Number(least=0, most=0.5)), Key("test", Number(least=0, most=0.5)))),
        ),
        Key("label_instruction", Text()),
        Key("preset", Choice("PRESET", ("instructions", "classification", "preference", "corpus"))),
        Key("represented_attributes", ListOf(Text())),
        Key("least_share", _SHARE),
        Key(
            "mislabelled",
            Section((Key("action", Choice("MISLABELLED_ACTION", ("report", "drop")), "mislabelled_action"),)),
            ".",
        ),
        Key("evaluation_texts", ListOf(Text())),
        Key("skipped_steps", ListOf(Text())),
        Key("whole_sentences_only", Flag()),
        Key("real_questions", ListOf(Text())),
        Key("runtime", Choice("RUNTIME", ("local", "ray"))),
    )
)

RECIPE = Section(
    (
        Key(
            "method",
            Choice("METHOD", ("sft", "dpo", "continued_pretraining", "from_scratch", "output_layer")),
        ),
        Key("preset", Choice("PRESET", ("quick", "balanced", "best"))),
        Key("adapter", Choice("ADAPTER", ("lora", "full", "rslora", "dora", "qlora"))),
        Key("rank", Number(least=1, whole=True)),
        Key("alpha", Number(least=0)),
        Key("dropout", _SHARE),
        Key("learning_rate", Number(least=0)),
        Key("epochs", Number(least=0)),
        Key("tokens_per_batch", Number(least=1, whole=True)),
        Key("max_length", Number(least=1, whole=True)),
        Key("warmup_ratio", _SHARE),
        Key("weight_decay", Number(least=0)),
        Key("max_gradient_norm", Number(least=0)),
        Key("validations_per_epoch", Number(least=1, whole=True)),
        Key("early_stopping_patience", _COUNT),
        Key("max_training_tokens", _COUNT),
        Key("seed", _COUNT),
        Key("checkpoint_every_steps", Number(least=1, whole=True)),
        Key("loss_spike_factor", Number(least=0)),
        Key("chat_template", Text()),
        Key("start_from", Text()),
        Key("beta", Number(least=0)),
        Key("replay_curation", Text()),
        Key("replay_share", _SHARE),
        Key("vocabulary_size", Number(least=300, whole=True)),
        Key("parameters", _COUNT),
        Key("compute_budget", Number(least=0)),
        Key("output_layer", Choice("OUTPUT_LAYER", ("single_label", "multi_label", "regression"))),
        Key("balance_labels", Flag()),
    )
)

TRAINING = Section(
    (
        Key("name", Id(), required=True),
        Key("curation", Reference("curationPolicies"), "curation_policy", required=True),
        Key("model", Reference("models"), required=True),
        Key("base_model", Reference("baseModels"), required=True),
        Key("recipe", RECIPE),
        Key("trigger", Choice("PLAN_TRIGGER", ("curation", "loop"))),
    )
)

RULE = Section(
    (
        Key("metric", Text(), required=True),
        Key("suite", Text()),
        Key("compared_to", Choice("BASELINE", ("nothing", "base", "prompted", "live"))),
        Key("at_least", Number()),
        Key("at_most", Number()),
        Key("bound", Choice("BOUND", ("lower", "upper", "point"))),
        Key("slice", Text()),
        Key("not_worse_by", Number(least=0)),
    )
)

ITEM = Section(
    (
        *(
            Key(name, Text(), required=name == "prompt")
            for name in (
                "id", "system", "prompt", "reference", "label", "language", "cluster", "pattern", "schema",
            )
        ),
        Key("choices", ListOf(Text())),
    )
)  # fmt: skip

SUITE = Section(
    (
        Key("name", Id(), required=True),
        Key("curation", Text()),
        Key("inline_items", Section((Key("items", ListOf(ITEM)),))),
        Key("task", Text()),
        Key("builtin", Text()),
        Key("variations", ListOf(Text())),
        Key("metrics", ListOf(Text())),
        Key("pattern", Text()),
        Key("schema", Text()),
        Key("max_items", _COUNT),
    )
)

PROMPT = Section(
    (
        Key("name", Id(), required=True),
        Key("system", Text()),
        Key("format", Text()),
        Key(
            "examples",
            ListOf(Section((Key("prompt", Text(), required=True), Key("reference", Text(), required=True)))),
        ),
        Key("shots", _COUNT),
        Key("choice", Text()),
    )
)

EVALUATION = Section(
    (
        Key("name", Id(), required=True),
        Key("model", Reference("models"), required=True),
        Key("general_suite", Text()),
        Key("max_items", _COUNT),
        Key(
            "few_shot",
            Section(
                (
                    Key("shots", ListOf(Number(least=1, whole=True))),
                    Key("choices", ListOf(Text())),
                    Key("items", _COUNT),
                )
            ),
        ),
        Key("rules", ListOf(RULE)),
        Key("suites", ListOf(Reference("suites"))),
        Key("correction", Choice("CORRECTION", ("none", "holm"))),
    )
)

PARTS = {
    "base_models": BASE_MODEL,
    "sources": SOURCE,
    "curation": CURATION,
    "training": TRAINING,
    "suites": SUITE,
    "prompts": PROMPT,
    "evaluation": EVALUATION,
    "deployment": DEPLOYMENT,
}
"""Every key of the file that holds parts; each takes one part or a list of them."""

COLLECTIONS = {
    "base_models": "baseModels",
    "sources": "sources",
    "curation": "curationPolicies",
    "training": "trainingPlans",
    "suites": "suites",
    "prompts": "prompts",
    "evaluation": "gates",
    "deployment": "endpoints",
}
"""The collection of resources that each kind of part belongs to."""
