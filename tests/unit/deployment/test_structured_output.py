"""JSON by a schema and calls of tools, as the real `openai` client asks for them, through a real engine."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import openai
import pydantic
import pytest
from sartor_deployment.build.converter import convert
from sartor_deployment.gateway.errors import ApiError
from sartor_deployment.gateway.routes import Route
from sartor_deployment.gateway.sample import answer_text, masked_json, question_of
from sartor_deployment.gateway.schema_form import check_schema
from sartor_deployment.resources import EngineSettings
from sartor_deployment.targets.local_llama_cpp import LocalEngine

from tests.tiny_model import CHAT_TEMPLATE, make_tiny_model
from tests.unit.deployment.engines import FixedRoutes, gateway, table_of

CONVERTER = Path(sys.prefix) / "share" / "sartor" / "converter"
needs_converter = pytest.mark.skipif(not CONVERTER.is_dir(), reason="the converter is not installed")
TOOL_TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}"
    '<tool_call>\n{"name": …, "arguments": …}\n</tool_call><|im_end|>\n{% endif %}'
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}"
    "{% if message.content %}{{ message.content }}{% endif %}{% for call in message.tool_calls or [] %}"
    '{{ \'<tool_call>\n{"name": "\' + call.function.name + \'", "arguments": \' }}'
    "{{ (call.function.arguments | tojson) + '}\n</tool_call>' }}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ASKED: list[Any] = [{"role": "user", "content": "Where is my order?"}]


class Address(pydantic.BaseModel):
    """A nested model: pydantic refers to it by `$ref`."""

    zip: str = pydantic.Field(pattern="^[0-9]{5}$")
    country: Literal["de", "fr"]


class Ticket(pydantic.BaseModel):
    """What the model fills in."""

    topic: Literal["order", "invoice"]
    urgent: bool
    count: int = pydantic.Field(ge=0, le=99)
    address: Address


TOOL: Any = openai.pydantic_function_tool(Ticket, name="open_ticket")
OTHER: Any = {
    "type": "function",
    "function": {
        "name": "refund",
        "parameters": {"type": "object", "properties": {"by": {"enum": ["card"]}}, "required": ["by"]},
    },
}


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, openai.OpenAI]]:
    """A model whose template has tools, and one whose template has none, each through a gateway."""
    folder = tmp_path_factory.mktemp("structured")
    base = make_tiny_model(folder / "base", context=2048)
    (base / "chat_template.jinja").write_text(TOOL_TEMPLATE)
    convert(CONVERTER, base, folder / "tools.gguf", "Q8_0")
    # The same file with the other template, made as long by a comment: converting again would take seconds.
    told = TOOL_TEMPLATE.encode()
    plain = (CHAT_TEMPLATE + "{#").encode().ljust(len(told) - 2, b" ") + b"#}"
    weights = (folder / "tools.gguf").read_bytes()
    assert weights.count(told) == 1
    (folder / "plain.gguf").write_bytes(weights.replace(told, plain))
    with contextlib.ExitStack() as stack:
        clients = {}
        for name in ("tools", "plain"):
            settings = EngineSettings(context_length=2048, slots=2, threads=1)
            engine = LocalEngine(folder / f"{name}.gguf", "r1", settings)
            stack.callback(engine.stop)
            address = engine.wait_for_address(60)
            assert address is not None
            route = Route("r1", (address.url,), "projects/p/endpoints/support", slots=2)
            url = stack.enter_context(gateway(FixedRoutes(table_of(route))))
            clients[name] = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60)
        yield clients


@pytest.fixture(scope="module")
def chat(clients: dict[str, openai.OpenAI]) -> Callable[..., Any]:
    """Ask the model whose template has tools."""

    def ask(**more: Any) -> Any:
        options = {"model": "support", "messages": ASKED, "max_tokens": 900, "temperature": 0, **more}
        return clients["tools"].chat.completions.create(**options).choices[0]

    return ask


def form(schema: Any, *, strict: bool = True) -> dict[str, Any]:
    """A response format."""
    return {"type": "json_schema", "json_schema": {"name": "t", "strict": strict, "schema": schema}}


@needs_converter
def test_an_answer_obeys_its_schema_whole_parsed_and_streamed(
    clients: dict[str, openai.OpenAI], chat: Callable[..., Any]
) -> None:
    """Of a model of random weights: the grammar makes it so. Also where the template has no tools."""
    said = chat(response_format=form(Ticket.model_json_schema()))
    assert said.finish_reason == "stop"
    Ticket.model_validate_json(said.message.content)
    for client in clients.values():
        parsed = client.chat.completions.parse(
            model="support", messages=ASKED, max_tokens=900, response_format=Ticket
        )
        assert isinstance(parsed.choices[0].message.parsed, Ticket)
        with client.chat.completions.stream(
            model="support", messages=ASKED, max_tokens=900, response_format=Ticket
        ) as stream:
            assert isinstance(stream.get_final_completion().choices[0].message.parsed, Ticket)
    begun = chat(response_format={"type": "json_object"}, max_tokens=40).message.content
    assert begun.strip()[:1] in ("", "{"), "nothing but white space may come before it"


@needs_converter
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "open_ticket"}}])
def test_a_call_that_must_be_made_is_made_with_arguments_that_obey(
    clients: dict[str, openai.OpenAI], chat: Callable[..., Any], choice: Any
) -> None:
    """Whole and streamed; the answer says that it is a call."""
    said = chat(tools=[TOOL], tool_choice=choice)
    (call,) = said.message.tool_calls
    assert (said.finish_reason, said.message.content, call.function.name) == (
        "tool_calls",
        None,
        "open_ticket",
    )
    Ticket.model_validate_json(call.function.arguments)
    with clients["tools"].chat.completions.stream(
        model="support",
        messages=ASKED,
        max_tokens=900,
        tools=[TOOL, OTHER],
        tool_choice={"type": "function", "function": {"name": "open_ticket"}},
        stream_options={"include_usage": True},
    ) as stream:
        whole = stream.get_final_completion()
    parsed = (whole.choices[0].message.tool_calls or [])[0].function.parsed_arguments
    assert isinstance(parsed, Ticket)
    assert whole.usage is not None
    assert whole.usage.completion_tokens > 0


@needs_converter
def test_half_a_call_is_no_call(chat: Callable[..., Any]) -> None:
    """What was cut off by max_tokens stays text, and says so."""
    said = chat(tools=[TOOL], tool_choice="required", max_tokens=3)
    assert (said.finish_reason, said.message.tool_calls) == ("length", None)


@needs_converter
def test_tools_may_be_left_alone_and_earlier_calls_are_read(chat: Callable[..., Any]) -> None:
    """`auto` and `none`, and a conversation with a call and its result."""
    call = {"id": "1", "type": "function", "function": {"name": "refund", "arguments": '{"by": "card"}'}}
    turns = [
        *ASKED,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "done"},
    ]
    for choice in ("auto", "none"):
        assert chat(messages=turns, tools=[OTHER], tool_choice=choice, max_tokens=4).finish_reason


@needs_converter
def test_tools_that_the_model_would_never_read_are_refused(clients: dict[str, openai.OpenAI]) -> None:
    """Its chat template has no place for them."""
    for _ in range(2):
        with pytest.raises(openai.BadRequestError) as caught:
            clients["plain"].chat.completions.create(model="support", messages=ASKED, tools=[TOOL])
        assert (caught.value.code, caught.value.param) == ("tools_not_supported", "tools")
    assert "response_format" in caught.value.message


@needs_converter
@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        {"$ref": "https://example.com/schema.json"},
        {"type": "array", "items": {"type": "integer"}, "minItems": 5, "maxItems": 2},
        {"type": "array", "items": {"type": "integer"}, "minItems": 10**9},
        {"type": "string", "pattern": "^([a-z$"},
        {"type": "string", "pattern": "^(a?){500}(a?){500}$"},
        {"enum": [f"value {number}" for number in range(2000)]},
        {"oneOf": [{"const": number} for number in range(5000)]},
        {
            "anyOf": [{"type": "array", "items": {"$ref": "#/$defs/a"}} for _ in range(200)],
            "$defs": {"a": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/a"}}] * 200}},
        },
        {"type": "nonsense"},
        5,
    ],
    ids=lambda schema: str(schema)[:40],
)
def test_a_schema_no_engine_can_take_is_a_400_and_the_engine_lives(
    chat: Callable[..., Any], schema: Any
) -> None:
    """In whatever place it comes; asked directly, some of these stop the engine for all or end it."""
    for strict in (True, False):
        with pytest.raises(openai.BadRequestError) as caught:
            chat(response_format=form(schema, strict=strict))
        assert caught.value.code == "invalid_schema"
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    with pytest.raises(openai.BadRequestError):
        chat(tools=[tool], tool_choice="required")
    assert chat(max_tokens=1).message is not None


@pytest.mark.parametrize(
    ("schema", "word"),
    [
        ({"type": "number", "minimum": 1}, "minimum"),
        ({"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, "uniqueItems"),
        ({"type": "string", "pattern": r"^\d{5}$"}, "[0-9]"),
        ({"type": "string", "pattern": "abc"}, "^"),
        ({"type": "string", "pattern": "^a$|^b$"}, "group"),
        ({"type": "string", "pattern": "^(?=a)b$"}, "look-around"),
        ({"anyOf": [{"type": "null"}], "properties": {}}, "properties"),
        ({"type": "object", "properties": {"a": {}}, "required": ["a", "b"]}, "required"),
    ],
    ids=str,
)
def test_strict_promises_nothing_that_the_engine_does_not_keep(schema: dict[str, Any], word: str) -> None:
    """It would leave these out without a word. Where the schema is not strict, they pass."""
    with pytest.raises(ApiError) as caught:
        check_schema(schema, "schema", strict=True)
    assert caught.value.status == 400
    assert word in caught.value.message
    check_schema(schema, "schema", strict=False)


def test_a_schema_of_many_readings_is_refused_and_a_tree_of_named_nodes_is_not() -> None:
    """Readings multiply in a circle, unless each alternative says first which one it is."""

    def node(**first: Any) -> dict[str, Any]:
        properties = {**first, "left": {"$ref": "#/$defs/node"}}
        return {"type": "object", "properties": properties, "required": [*properties]}

    def tree(*nodes: dict[str, Any]) -> dict[str, Any]:
        alternatives = {"anyOf": [*nodes, {"type": "integer"}]}
        return {"$ref": "#/$defs/node", "$defs": {"node": alternatives}}

    check_schema(tree(node(kind={"const": "add"}), node(kind={"const": "negate"})), "schema", strict=True)
    chain = {f"a{level}": {"anyOf": [{"$ref": f"#/$defs/a{level + 1}"}] * 5} for level in range(20)}
    for schema, word in (
        (tree(node(), node()), "const"),
        ({"$ref": "#/$defs/a0", "$defs": {**chain, "a20": {"type": "null"}}}, "readings"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}, "without an end"),
    ):
        with pytest.raises(ApiError, match=word):
            check_schema(schema, "schema", strict=False)


def test_a_schema_deeper_than_any_grammar_is_refused() -> None:
    """Thousands of levels end an engine's process."""
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(5000):
        schema = {"type": "array", "items": schema}
    with pytest.raises(ApiError, match=r"larger|deeper"):
        check_schema(schema, "schema", strict=False)


@needs_converter
@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [OTHER], "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": [OTHER], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"tools": [OTHER], "tool_choice": "required", "response_format": form({})}, "response_format"),
        ({"tools": [OTHER] * 65}, "tools"),
        ({"functions": [{"name": "old"}]}, "functions"),
        ({"extra_body": {"grammar": 'root ::= "a"'}}, "grammar"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
    ],
    ids=str,
)
def test_what_an_engine_would_leave_out_without_a_word_is_a_400(
    chat: Callable[..., Any], asked: dict[str, Any], param: str
) -> None:
    """With the parameter that is wrong."""
    with pytest.raises(openai.BadRequestError) as caught:
        chat(**asked)
    assert caught.value.param == param


def test_samples_keep_calls_masked() -> None:
    """Of answers without content, of deltas, and of earlier calls in the question."""
    function = {"name": "mail", "arguments": '{"to": "ann.smith@example.com"}'}
    call = {"id": "1", "type": "function", "function": function}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    whole = json.dumps({"choices": [{"index": 0, "message": message}]}).encode()
    pieces: list[Any] = [{"role": "assistant", "content": None}]
    pieces += [{"tool_calls": [{"index": 0, "id": "1", "function": {"name": "mail", "arguments": ""}}]}]
    pieces += [
        {"tool_calls": [{"index": 0, "function": {"arguments": each}}]} for each in function["arguments"]
    ]
    streamed = b"".join(
        b"data: " + json.dumps({"choices": [{"index": 0, "delta": each}]}).encode() + b"\n\n"
        for each in pieces
    )
    for body in (whole, streamed + b"data: [DONE]\n\n"):
        assert answer_text(body) == f"mail {function['arguments']}"
    question = question_of(json.dumps({"messages": [*ASKED, message]}).encode())
    kept, answer = masked_json([question, answer_text(whole)])
    assert [each["content"] for each in kept] == [ASKED[0]["content"], 'mail {"to": "[EMAIL_1]"}']
    assert answer == 'mail {"to": "[EMAIL_1]"}'
