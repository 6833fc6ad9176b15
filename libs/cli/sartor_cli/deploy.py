"""`sartor deploy`: how rollouts stand and why, a person's word in them, and advice about where to deploy."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Annotated, Any

import typer
from sartor.deployment.v1 import advice_pb2
from sartor.deployment.v1 import deployment_service_pb2 as api
from sartor.deployment.v1.endpoint_pb2 import DecisionKind, Endpoint, Revision, RevisionState
from sartor.deployment.v1.loop_pb2 import DriftFinding

from sartor_cli.advice import data_class, show_advice
from sartor_cli.client import Sartor
from sartor_cli.kind import C
from sartor_cli.kinds_of_models import parity_text
from sartor_cli.manifests import manifests
from sartor_cli.options import DataDir, FeedbackText, Output, Project
from sartor_cli.output import Format, age, console, heading, last, plain, print_data, print_detail, table
from sartor_cli.projects import choose_project
from sartor_cli.words import revision_word, styled

HELP = """Follow and steer rollouts, and ask where to deploy.

\b
Examples:
  sartor deploy status support
  sartor deploy approve support r3
  sartor deploy advise support --latency-p95-ms 2000 --data own-machines
"""
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=HELP)
app.command()(manifests)
Name = Annotated[str, typer.Argument(help="An endpoint as `sartor get endpoints` names it.")]
_DECISIONS_SHOWN = 15
_WINDOWS = 5


@app.command()
def status(
    endpoint: Name,
    project: Project = "",
    data_dir: DataDir = Path(".sartor"),
    output: Output = Format.TABLE,
) -> None:
    """Show an endpoint's revisions, its traffic, what drifted, and every decision with its numbers."""
    with Sartor.local(data_dir) as sartor:
        name = f"{choose_project(sartor, project)}/endpoints/{last(endpoint)}"
        found = sartor.ask(sartor.deployment.GetEndpoint, api.GetEndpointRequest(name=name))
        revisions = list(
            sartor.all(sartor.deployment.ListRevisions, api.ListRevisionsRequest(parent=name), limit=5)
        )
        decisions = list(
            sartor.all(
                sartor.deployment.ListDecisions, api.ListDecisionsRequest(parent=name), limit=_DECISIONS_SHOWN
            )
        )
        traffic = sartor.ask(
            sartor.deployment.SummarizeTraffic, api.SummarizeTrafficRequest(name=name)
        ).revisions
        windows = list(
            sartor.all(
                sartor.deployment.ListDriftWindows, api.ListDriftWindowsRequest(parent=name), limit=_WINDOWS
            )
        )
    if output is not Format.TABLE:
        parts = {"revisions": revisions, "traffic": traffic, "drift": windows, "decisions": decisions}
        shown = {key: [plain(each) for each in value] for key, value in parts.items()}
        print_data({"endpoint": plain(found), **shown}, output)
        return
    _show_endpoint(found, revisions)
    _show_variants(revisions)
    _show_traffic(list(traffic))
    _show_drift(windows)
    _show_decisions(decisions)


def _show_endpoint(found: Endpoint, revisions: list[Revision]) -> None:
    console.print(
        f"[bold]{last(found.name)}[/] at {found.url}, live: {last(found.live_revision) or 'nothing'}"
    )
    heading("Revisions")
    columns = (
        C("REVISION", lambda each: last(each.name)),
        C("STATE", _state),
        C("MODEL VERSION", lambda each: "/".join(each.model_version.split("/")[3:])),
        C("PARITY", parity_text),
        C("WEIGHTS", _weights_text),
        C("ENGINES", lambda each: str(each.ready_replicas), right=True),
        C("AGE", lambda each: age(each.create_time), right=True),
    )
    console.print(table(revisions, columns) if revisions else "None yet.")
    for each in revisions:
        if each.state == RevisionState.REVISION_STATE_AWAITING_APPROVAL:
            console.print(
                f"{last(each.name)} waits for you: sartor deploy approve {last(found.name)} {last(each.name)}"
            )


def _weights_text(revision: Revision) -> str:
    if not revision.HasField("weights"):
        return "-"
    own = f"{revision.weights.size_bytes / 1e6:,.1f} MB"
    if not revision.HasField("base_weights"):
        return own
    base = revision.base_weights
    return f"{own} on a shared base of {base.size_bytes / 1e6:,.1f} MB ({base.sha256[:8]})"


def _state(revision: Any) -> str:
    word = styled(revision_word(revision.state))
    return f"{word} ({revision.canary_weight} %)" if revision.canary_weight else word


def _show_variants(revisions: list[Revision]) -> None:
    newest = next((each for each in revisions if each.variants), None)
    if newest is None:
        return
    heading(f"Quantization, measured through the engine ({last(newest.name)})")
    columns = (
        C("FORMAT", lambda each: each.quantization),
        C("SIZE MB", lambda each: f"{each.size_bytes / 1e6:,.1f}", right=True),
        C(
            "SHARED MB",
            lambda each: f"{each.shared_bytes / 1e6:,.1f}" if each.shared_bytes else "",
            right=True,
        ),
        C("TOKENS/S", lambda each: f"{each.tokens_per_second:,.0f}", right=True),
        C("LOSS", lambda each: f"{each.loss:.4f}", right=True),
        C("GAP", lambda each: f"{each.loss_gap:+.4f}", right=True),
        C("SAME TOKEN", lambda each: f"{each.top1_agreement:.1%}", right=True),
        C("", lambda each: each.error or ("[green]taken[/]" if each.chosen else "")),
    )
    console.print(table(list(newest.variants), columns))


def _show_traffic(traffic: list[Any]) -> None:
    if not traffic:
        return
    heading("Traffic of the last hour")
    columns = (
        C("REVISION", lambda each: last(each.revision)),
        C("REQUESTS", lambda each: f"{each.requests:,}", right=True),
        C("ERRORS", lambda each: f"{each.errors:,}", right=True),
        C("P50 MS", lambda each: f"{each.latency_p50_ms:,.0f}", right=True),
        C("P95 MS", lambda each: f"{each.latency_p95_ms:,.0f}", right=True),
        C("TOKENS", lambda each: f"{each.completion_tokens:,}", right=True),
        C("FEEDBACK", lambda each: f"{each.feedback_mean:.2f} of {each.feedback_count}", right=True),
        C("AGREEMENT", _agreement, right=True),
    )
    console.print(table(traffic, columns))


def _agreement(seen: Any) -> str:
    """How far answers in the shadow are those that users got."""
    return f"{seen.agreement_mean:.2f} of {seen.agreement_count}" if seen.agreement_count else ""


def _show_drift(windows: list[Any]) -> None:
    if not windows:
        return
    heading("Drift, newest window first")
    columns = (
        C("WINDOW", lambda each: f"{last(each.revision)} #{each.number}"),
        C("REQUESTS", lambda each: f"{each.window_requests:,}", right=True),
        C("AGE", lambda each: age(each.end_time), right=True),
        C("SIGNALS", lambda each: str(len(each.findings)), right=True),
        C("FOUND", _drift_text),
    )
    console.print(table(windows, columns))


def _drift_text(window: Any) -> str:
    if window.error:
        return str(window.error)
    found = [each for each in window.findings if each.found]
    return "; ".join(map(_finding_text, found)) or "nothing"


def _finding_text(found: DriftFinding) -> str:
    shown = "; ".join(example[:60] for example in found.examples[:3])
    such = f", such as: {shown}" if shown else ""
    return f"{found.signal}: {found.message} (p {found.p_value:.4f}){such}"


def _show_decisions(decisions: list[Any]) -> None:
    heading("Decisions, newest first")
    columns = (
        C("AGE", lambda each: age(each.create_time), right=True),
        C("REVISION", lambda each: last(each.revision)),
        C("DECISION", lambda each: _decision_word(each.kind)),
        C("WHY", lambda each: f"{each.reason}: {each.message}" if each.reason else each.message),
        C("BY", lambda each: last(each.decided_by)),
    )
    console.print(table(decisions, columns) if decisions else "None yet.")


def _decision_word(kind: DecisionKind.ValueType) -> str:
    return styled(DecisionKind.Name(kind).removeprefix("DECISION_KIND_").lower().replace("_", " "))


@app.command()
def approve(
    endpoint: Name,
    revision: Annotated[str, typer.Argument(help="The revision that waits, as r3.")],
    project: Project = "",
    data_dir: DataDir = Path(".sartor"),
) -> None:
    """Let a revision that waits for a person go on."""
    with Sartor.local(data_dir) as sartor:
        name = _revision_name(sartor, project, endpoint, revision)
        request = api.ApproveRevisionRequest(name=name, request_id=str(uuid.uuid4()))
        done = sartor.ask(sartor.deployment.ApproveRevision, request)
    console.print(f"{last(name)} is {revision_word(done.state)}.")


@app.command()
def reject(
    endpoint: Name,
    revision: Annotated[str, typer.Argument(help="A revision that is not live yet, as r3.")],
    message: Annotated[str, typer.Option("--message", "-m", help="Why, for those who read it later.")] = "",
    project: Project = "",
    data_dir: DataDir = Path(".sartor"),
) -> None:
    """Stop a revision that is not live yet. What is live stays live."""
    with Sartor.local(data_dir) as sartor:
        name = _revision_name(sartor, project, endpoint, revision)
        request = api.RejectRevisionRequest(name=name, message=message, request_id=str(uuid.uuid4()))
        sartor.ask(sartor.deployment.RejectRevision, request)
    console.print(f"{last(name)} is rejected.")


def _revision_name(sartor: Sartor, project: str, endpoint: str, revision: str) -> str:
    return f"{choose_project(sartor, project)}/endpoints/{last(endpoint)}/revisions/{last(revision)}"


@app.command()
def advise(
    endpoint: Name,
    latency_p95_ms: Annotated[float, typer.Option(min=0, help="Most ms for 95 of 100 requests.")] = 0,
    requests_per_second: Annotated[float, typer.Option(min=0, help="On average.")] = 1,
    peak: Annotated[float, typer.Option(min=0, help="Requests a second at the peak; else twice that.")] = 0,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a typical prompt.")] = 300,
    answer_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a typical answer.")] = 100,
    data: Annotated[
        str, typer.Option(help="Where it may go: anywhere, regional, own-machines or device.")
    ] = "anywhere",
    offline: Annotated[bool, typer.Option("--offline", help="It must answer without a network.")] = False,
    budget: Annotated[float, typer.Option(min=0, help="Most a month.")] = 0,
    allowed_loss: Annotated[float, typer.Option(min=0, help="Most nats quantization may cost.")] = 0,
    prices: Annotated[Path | None, typer.Option(help="Your price table (JSON).")] = None,
    project: Project = "",
    data_dir: DataDir = Path(".sartor"),
    output: Output = Format.TABLE,
) -> None:
    """Rank places to deploy to: what each costs a month, and which requirement decides.

    \b
    Examples:
      sartor deploy advise support --latency-p95-ms 2000 --requests-per-second 3 --data own-machines
    """
    wanted = advice_pb2.Requirements(
        latency_p95_ms=latency_p95_ms,
        requests_per_second=requests_per_second,
        peak_requests_per_second=peak,
        prompt_tokens=prompt_tokens,
        answer_tokens=answer_tokens,
        data_class=data_class(data),
        offline=offline,
        budget_per_month=budget,
        allowed_loss=allowed_loss,
    )
    table_json = prices.read_text(encoding="utf-8", errors="replace") if prices else ""
    with Sartor.local(data_dir) as sartor:
        name = f"{choose_project(sartor, project)}/endpoints/{last(endpoint)}"
        request = api.RecommendTargetRequest(endpoint=name, requirements=wanted, price_table_json=table_json)
        found = sartor.ask(sartor.deployment.RecommendTarget, request)
    if output is not Format.TABLE:
        print_detail(found, output)
        return
    show_advice(found)


@app.command()
def bundle(
    endpoint: Name,
    key: Annotated[Path, typer.Option(help="Your private key (`python -m sartor_edge keygen`).")],
    out: Annotated[Path, typer.Option(help="The new folder.")],
    sequence: Annotated[
        int,
        typer.Option(min=0, help="Above what devices have; else the revision's number.", show_default=False),
    ] = 0,
    feedback_text: FeedbackText = None,
    project: Project = "",
    data_dir: DataDir = Path(".sartor"),
) -> None:
    """Write the live revision as one signed folder that runs offline on a bare machine.

    \b
    Examples:
      sartor deploy bundle support --key private.pem --out bundle
      python -m sartor_edge publish --bundle bundle --channel www --private private.pem --public public.pem
    """
    from sartor_cli.edge_bundle import write_bundle

    with Sartor.local(data_dir) as sartor:
        name = f"{choose_project(sartor, project)}/endpoints/{last(endpoint)}"
        manifest = write_bundle(sartor, name, key, out, sequence, feedback_text)
    size = manifest.size_bytes / 1e6
    console.print(
        f"{last(manifest.settings.revision)} is in {out}: {size:,.1f} MB, signed. Start it: {out}/start.sh"
    )
