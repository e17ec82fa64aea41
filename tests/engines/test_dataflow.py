"""The graph as Dataflow would get it: translated by the real client, never sent."""

from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2

from curate.commands import demo
from curate.flow import build
from curate.planning.plan import make_plan

ADDRESSES = {"pictures.example": "127.0.0.1:9", "gone.example": "127.0.0.1:9"}


@pytest.fixture(scope="module")
def translated(tmp_path_factory: pytest.TempPathFactory) -> beam_runner_api_pb2.Pipeline:
    folder = tmp_path_factory.mktemp("dataflow")
    config = demo.demo_config(
        ADDRESSES, out=str(folder / "run"), overrides=("beam.runner=DataflowRunner",)
    )
    (folder / "staging").mkdir()
    options = PipelineOptions(
        ["--runner=DataflowRunner", "--project=p", "--region=us-central1", "--job_name=curate",
         f"--temp_location={folder}/temp", f"--staging_location={folder}/staging", "--no_auth",
         "--dataflow_endpoint=http://localhost:1", "--sdk_location=container",
         "--sdk_container_image=example.invalid/curate:1",
         "--experiments=no_use_multiple_sdk_containers",
         f"--template_location={folder}/job.json"]
    )  # fmt: skip
    pipeline = beam.Pipeline(options=options)
    build(pipeline, make_plan(config))
    pipeline.run()
    assert (folder / "job.json").exists()
    return beam_runner_api_pb2.Pipeline.FromString(
        Path(folder / "staging/pipeline.pb").read_bytes()
    )


def hints(pipeline: beam_runner_api_pb2.Pipeline, urn: str) -> dict[str, bytes]:
    """The value of a resource hint for each leaf transform that has it."""
    environments = pipeline.components.environments
    return {
        transform.unique_name: environments[transform.environment_id].resource_hints[urn]
        for transform in pipeline.components.transforms.values()
        if not transform.subtransforms
        and transform.environment_id
        and urn in environments[transform.environment_id].resource_hints
    }


def test_the_accelerator_is_asked_for_by_the_scoring_step_alone(
    translated: beam_runner_api_pb2.Pipeline,
) -> None:
    found = hints(translated, common_urns.resource_hints.ACCELERATOR.urn)
    assert found == {"Score": b"type:nvidia-tesla-t4;count:1;install-nvidia-driver"}
    memory = hints(translated, common_urns.resource_hints.MIN_RAM_BYTES.urn)
    assert memory == {"Score": b"16000000000"}


def test_all_stages_are_in_the_graph(translated: beam_runner_api_pb2.Pipeline) -> None:
    names = {t.unique_name.split("/")[0] for t in translated.components.transforms.values()}
    assert {
        "Prepare", "Fetch", "Select images", "Dedup", "Score", "Select scores", "Balance", "Shards"
    } <= names  # fmt: skip


def test_workers_use_the_container_and_stage_nothing(
    translated: beam_runner_api_pb2.Pipeline,
) -> None:
    for environment in translated.components.environments.values():
        payload = beam_runner_api_pb2.DockerPayload.FromString(environment.payload)
        assert payload.container_image == "example.invalid/curate:1"
        staged = [dependency.role_payload.decode() for dependency in environment.dependencies]
        assert all(name.endswith("submission_environment_dependencies.txt") for name in staged)
