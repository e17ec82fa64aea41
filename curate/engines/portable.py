"""Jobs at a job server of Beam's (Prism, Flink, Spark), by its job service."""

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import grpc
from apache_beam.portability.api import beam_job_api_pb2 as api
from apache_beam.portability.api import beam_job_api_pb2_grpc

from curate.engines import flink
from curate.engines.job import Job, Seen, State, in_one_line
from curate.errors import CurateError

Reply = TypeVar("Reply")
_ANSWER = 10.0  # seconds that a job server may take
_LISTEN = 1.0  # seconds for messages that it has: it sends them until the job ends
_STATES = {
    api.JobState.UNSPECIFIED: State.WAITING,
    api.JobState.STOPPED: State.WAITING,  # prepared, not started
    api.JobState.STARTING: State.WAITING,
    api.JobState.RUNNING: State.RUNNING,
    api.JobState.DONE: State.DONE,
    api.JobState.DRAINED: State.DONE,
    api.JobState.FAILED: State.FAILED,
    api.JobState.CANCELLED: State.CANCELLED,
}
_NAME = "beam:option:job_name:v1"


class JobServer:
    """A job server, and the Flink that it submits to, where that is known."""

    is_process = False

    def check_answers(self, where: str) -> None:
        """Raise where no job server answers at this address: Beam would wait for minutes."""
        with grpc.insecure_channel(where) as channel:
            ready = grpc.channel_ready_future(channel)
            try:
                ready.result(timeout=_ANSWER)
            except grpc.FutureTimeoutError:
                raise CurateError(
                    f"--job_endpoint {where}: no job server answers there; start it, or correct the"
                    " address"
                ) from None
            finally:
                ready.cancel()

    def look(self, job: Job) -> Seen:
        """How a job is doing."""
        try:
            seen = self._asked(job)
        except grpc.RpcError as error:
            lost = error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
            lost = lost or _is_over(job, error)
            seen = Seen(State.GONE if lost else State.SILENT, why=_reason(job, error))
        return flink.look(job, seen) if job.also else seen

    def cancel(self, job: Job) -> None:
        """Ask for its end; Flink itself where its job server is gone."""
        with suppress(grpc.RpcError):
            if id_ := self._id(job):
                self._ask(
                    job, lambda x: x.Cancel(api.CancelJobRequest(job_id=id_), timeout=_ANSWER)
                )
                return
        if job.also:
            flink.cancel(job)

    def _ask(self, job: Job, ask: Callable[[Any], Reply]) -> Reply:
        with grpc.insecure_channel(job.where) as channel:
            return ask(beam_job_api_pb2_grpc.JobServiceStub(channel))

    def _id(self, job: Job) -> str:
        """The job's, by its name where the command was killed before it was told."""
        if job.id:
            return job.id
        found = self._ask(job, lambda x: x.GetJobs(api.GetJobsRequest(), timeout=_ANSWER))
        for one in reversed(found.job_info):
            if one.pipeline_options.fields[_NAME].string_value == job.name:
                return str(one.job_id)
        return ""

    def _asked(self, job: Job) -> Seen:
        id_ = self._id(job)
        if not id_:
            return Seen(State.GONE)
        of_job = api.GetJobStateRequest(job_id=id_)
        found = self._ask(job, lambda x: x.GetState(of_job, timeout=_ANSWER))
        state = _STATES.get(found.state, State.RUNNING)
        return Seen(state, said=self._errors(job, id_) if state is State.FAILED else ())

    def _errors(self, job: Job, id_: str) -> tuple[str, ...]:
        said: list[str] = []

        def listen(service: Any) -> None:
            asked = api.JobMessagesRequest(job_id=id_)
            for message in service.GetMessageStream(asked, timeout=_LISTEN):
                told = message.message_response
                if told.importance >= api.JobMessage.JOB_MESSAGE_ERROR:
                    said.append(in_one_line(told.message_text))

        with suppress(grpc.RpcError):
            self._ask(job, listen)
        return tuple(dict.fromkeys(said))


def _is_over(job: Job, error: grpc.RpcError) -> bool:
    """Whether the job server, which a command here started for this job, has ended: the job with it.

    So it is after Ctrl-C on a terminal, which sends the signal to the job server too.
    """
    is_here = job.host == socket.gethostname() and not job.also
    return is_here and error.code() is grpc.StatusCode.UNAVAILABLE


def _reason(job: Job, error: grpc.RpcError) -> str:
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return f"the job server at {job.where} does not answer"
    return f"the job server at {job.where}: {error.details()}"
