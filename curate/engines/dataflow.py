"""Jobs on Dataflow, by Beam's own client of its service."""

from contextlib import suppress
from typing import Any

from curate.engines.job import Job, Seen, State, in_one_line

_STATES = {
    "JOB_STATE_DONE": State.DONE, "JOB_STATE_FAILED": State.FAILED,
    "JOB_STATE_CANCELLED": State.CANCELLED, "JOB_STATE_DRAINED": State.DONE,
    "JOB_STATE_UPDATED": State.DONE, "JOB_STATE_STOPPED": State.WAITING,
    "JOB_STATE_PENDING": State.WAITING, "JOB_STATE_QUEUED": State.WAITING,
}  # fmt: skip
_NOT_FOUND = 404


class Dataflow:
    """The service; `where` is the project and the region, and the endpoint if it is not Google's."""

    is_process = False

    def look(self, job: Job) -> Seen:
        """How a job is doing."""
        from google.api_core.exceptions import GoogleAPICallError

        try:
            client = _client(job)
            id_ = _id(client, job)
            if not id_:
                return Seen(State.GONE)
            state = _STATES.get(client.get_job(id_).current_state.name, State.RUNNING)
        except GoogleAPICallError as error:
            lost = error.code == _NOT_FOUND
            return Seen(State.GONE if lost else State.SILENT, why=f"Dataflow: {error.message}")
        except OSError as error:
            return Seen(State.SILENT, why=f"Dataflow does not answer: {error}")
        said: list[str] = []
        if state is State.FAILED:
            with suppress(GoogleAPICallError, OSError):
                messages, _ = client.list_messages(id_, minimum_importance="JOB_MESSAGE_ERROR")
                said = [in_one_line(one.message_text) for one in messages]
        return Seen(state, said=tuple(dict.fromkeys(said)))

    def cancel(self, job: Job) -> None:
        """Ask for its end."""
        client = _client(job)
        if id_ := _id(client, job):
            client.modify_job_state(id_, "JOB_STATE_CANCELLED")


def where_of(options: list[str]) -> str:
    """The place of a job that is submitted with these options of Beam's."""
    from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

    found = PipelineOptions(options).view_as(GoogleCloudOptions)
    endpoint = str(found.dataflow_endpoint)
    own = "" if "dataflow.googleapis.com" in endpoint else f" {endpoint}"
    return f"{found.project}/{found.region}{own}" + (" --no_auth" * bool(found.no_auth))


def _id(client: Any, job: Job) -> str:
    """The job's, by its name where the command was killed before it was told; empty for none.

    Beam's own search passes over a job that waits, and asks for ever where it finds none.
    """
    if job.id:
        return job.id
    from google.cloud import dataflow

    project, region = _place(job)
    asked = dataflow.ListJobsRequest(project_id=project, location=region, name=job.name)
    found = [one for one in client._jobs_client.list_jobs(asked) if one.name == job.name]
    return str(max(found, key=lambda one: one.create_time.timestamp()).id) if found else ""


def _place(job: Job) -> tuple[str, str]:
    project, _, region = job.where.split()[0].partition("/")
    return project, region


def _client(job: Job) -> Any:
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.dataflow.internal.apiclient import DataflowApplicationClient

    _, *more = job.where.split()
    project, region = _place(job)
    flags = [f"--project={project}", f"--region={region}"]
    flags += [one if one.startswith("--") else f"--dataflow_endpoint={one}" for one in more]
    return DataflowApplicationClient(PipelineOptions(flags))
