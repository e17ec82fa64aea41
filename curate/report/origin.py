"""What a run was made from."""

from dataclasses import dataclass, field

from curate.config import Config
from curate.rundir.directory import PART_STAGES, Run, earlier


@dataclass(frozen=True)
class Source:
    """One input file."""

    path: str
    rows: int | None
    bytes: int | None
    digest: str
    format: str | None = None
    wave: int = 0  # with which addition to the pool it came


@dataclass(frozen=True)
class Origin:
    """What the run was made from."""

    state: str
    seed: int
    config_digest: str
    versions: dict[str, str]
    inputs: tuple[Source, ...]
    source: str | None  # the run that this one rebalances
    earlier: dict[str, int] = field(
        default_factory=dict
    )  # parts of another configuration, by stage


def origin_of(run: Run, config: Config) -> Origin:
    """The origin of a run, as its ``run.json`` tells it."""
    state = run.state()
    return Origin(
        state=str(state.get("state", "")),
        seed=int(state.get("seed", config.seed)),
        config_digest=str(state.get("config_digest", "")),
        versions=dict(state.get("versions", {})),
        inputs=tuple(
            Source(
                path=str(one.get("path", "")),
                rows=one.get("rows"),
                bytes=one.get("bytes"),
                digest=str(one.get("digest", "")),
                format=one.get("format"),
                wave=one.get("wave", 0),
            )
            for one in state.get("inputs", ())
        ),
        source=state.get("source"),
        earlier={str(x): n for x in PART_STAGES if (n := earlier(run, x))},
    )
