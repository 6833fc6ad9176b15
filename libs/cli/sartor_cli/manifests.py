"""`sartor deploy manifests`: the live revision written out for Kubernetes."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer
from sartor.deployment.v1 import deployment_service_pb2 as api

from sartor_cli.client import Sartor
from sartor_cli.options import DataDir, Project
from sartor_cli.output import console, last
from sartor_cli.projects import choose_project


class KubernetesForm(enum.StrEnum):
    """What of Kubernetes runs the model."""

    DEPLOYMENT = "deployment"
    KSERVE = "kserve"

    @property
    def message(self) -> api.KubernetesForm.ValueType:
        """As the service has it."""
        if self is KubernetesForm.KSERVE:
            return api.KUBERNETES_FORM_KSERVE
        return api.KUBERNETES_FORM_DEPLOYMENT


def manifests(
    endpoint: Annotated[str, typer.Argument(help="An endpoint as `sartor get endpoints` names it.")],
    out: Annotated[Path, typer.Option(help="The new folder.")],
    namespace: Annotated[str, typer.Option(help="Where it is to run.")] = "sartor-models",
    gpus: Annotated[int, typer.Option(min=1, help="GPUs of a replica.")] = 1,
    max_replicas: Annotated[int, typer.Option(min=1, help="Most replicas.")] = 4,
    s3_endpoint: Annotated[str, typer.Option(help="The object store as the cluster reaches it.")] = "",
    for_: Annotated[
        KubernetesForm,
        typer.Option("--for", help="A Deployment of vLLM, or one LLMInferenceService of KServe."),
    ] = KubernetesForm.DEPLOYMENT,
    apply: Annotated[
        bool, typer.Option("--apply", help="Apply them too, where the service has the right to.")
    ] = False,
    project: Project = "",
    data_dir: DataDir = Path(".sartor"),
) -> None:
    """Write the live revision out for vLLM or KServe on Kubernetes: to apply, or to commit for GitOps.

    \b
    Examples:
      sartor deploy manifests support --out clusters/prod/support && git add clusters
      sartor deploy manifests support --for kserve --out clusters/prod/support
    """
    with Sartor.local(data_dir) as sartor:
        request = api.RenderTargetRequest(
            name=f"{choose_project(sartor, project)}/endpoints/{last(endpoint)}",
            namespace=namespace,
            gpus=gpus,
            max_replicas=max_replicas,
            s3_endpoint=s3_endpoint,
            apply=apply,
            form=for_.message,
        )
        found = sartor.ask(sartor.deployment.RenderTarget, request)
    out.mkdir(parents=True, exist_ok=True)
    for each in found.files:
        (out / Path(each.name).name).write_text(each.content, encoding="utf-8")
    for name in found.applied:
        console.print(f"applied {name}")
    how = "they are applied" if found.applied else f"read its README.md, then: kubectl apply -k {out}"
    console.print(f"{len(found.files)} files are in {out}; {how}")
