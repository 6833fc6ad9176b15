"""What is asked of a model once the faults are over: does it answer, and is it the one it would have been."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

from sartor.common.v1.job_status_pb2 import JobState
from sartor.training.v1.training_job_pb2 import TrainingJob
from sartor.training.v1.training_service_pb2 import (
    CreateTrainingJobRequest,
    GetModelVersionRequest,
    GetTrainingJobRequest,
)
from sartor_cli.client import Sartor

from tests.faults.reading import Objects, Outside
from tests.faults.workload import asked

_ANSWER_SECONDS = 40.0
_TRAINING_SECONDS = 120.0


def the_live_revision_answers(gateway_url: str, endpoint: str) -> Iterator[str]:
    """Any client of the OpenAI API gets an answer; it may have to ask again while processes come back."""
    body = {"model": endpoint, "messages": [{"role": "user", "content": "Where is it?"}], "max_tokens": 4}
    request = urllib.request.Request(
        f"{gateway_url}/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    until = time.monotonic() + _ANSWER_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                if json.load(response)["choices"]:
                    return
                why = "no choices"
        except (urllib.error.URLError, OSError, ValueError) as error:
            why = str(error)
        if time.monotonic() > until:
            yield f"the live revision of endpoint {endpoint} does not answer: {why}"
            return
        time.sleep(0.5)


def a_twin_has_the_same_weights(sartor: Sartor, objects: Objects, outside: Outside) -> Iterator[str]:
    """The same training once more, undisturbed, reaches bit-equal weights: a resumed one lost nothing."""
    for job in outside.jobs:
        twin = TrainingJob(
            curation=job.curation, model=f"{job.model}-twin", base_model=job.base_model, recipe=job.recipe
        )
        parent = "/".join(job.name.split("/")[:2])
        request = CreateTrainingJobRequest(parent=parent, training_job=twin, request_id=str(uuid.uuid4()))
        made = asked(lambda request=request: sartor.ask(sartor.training.CreateTrainingJob, request))  # type: ignore[misc]
        done = _ended(sartor, made.name)
        if done.job.state != JobState.JOB_STATE_SUCCEEDED:
            yield f"the twin of {job.name} is {JobState.Name(done.job.state)}: {done.job.error.message}"
        elif (one := _weights(sartor, objects, job)) != (other := _weights(sartor, objects, done)):
            yield f"WEIGHTS: {job.name}, in {job.job.attempt} attempts, made {one}, its twin {other}"


def _ended(sartor: Sartor, name: str) -> Any:
    until = time.monotonic() + _TRAINING_SECONDS
    over = {JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_FAILED, JobState.JOB_STATE_CANCELLED}
    while True:
        job = asked(lambda: sartor.ask(sartor.training.GetTrainingJob, GetTrainingJobRequest(name=name)))
        if job.job.state in over or time.monotonic() > until:
            return job
        time.sleep(0.5)


def _weights(sartor: Sartor, objects: Objects, job: Any) -> dict[str, str]:
    request = GetModelVersionRequest(name=job.model_version)
    version = asked(lambda: sartor.ask(sartor.training.GetModelVersion, request))
    files = objects.manifest(version.manifest)["files"]
    return {file["path"]: file["object"]["sha256"] for file in files if file["path"].endswith(".safetensors")}
