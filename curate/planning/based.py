"""A run that begins as a copy of a finished one and grows by a pool of its own: the key `base`.

What the copy shares with its base are files that no command changes in place, so on a disk they are
hard links. run.json is the last: until it is there, the same command goes on copying.
"""

from curate import files
from curate.config import Config
from curate.config import file as config_file
from curate.errors import CurateError
from curate.rundir import lock
from curate.rundir.damage import check, incomplete
from curate.rundir.directory import Run
from curate.schema import Stage

BASE = "base"
"""The key of run.json that names the run which this one began as a copy of."""
_OWN = ("run.json", lock.NAME)


def pooled(config: Config) -> Config:
    """`config` over the pool of its base and, behind that, its own; as it is where it has no base.

    Raises
    ------
    CurateError
        Where there is no finished run at `base`, or it reads its pool otherwise.
    """
    if config.base is None:
        return config
    base = _opened(config.base)
    whole = config_file.load(base.path("config.yaml"))
    known = whole.input.columns
    shared: dict[str, tuple[object, object]] = {
        "part_rows": (config.part_rows, whole.part_rows),
        "input.format": (config.input.format, whole.input.format),
        "input.image_folders": (config.input.image_folders, whole.input.image_folders),
        "input.columns.keep": (sorted(config.input.columns.keep), sorted(known.keep)),
        **{f"input.columns.{key}": (x, getattr(known, key)) for key, x in config.input.columns
           if key != "keep"},
    }  # fmt: skip
    for key, (own, of_base) in shared.items():
        if own != of_base:
            raise CurateError(
                f"base: {config.base} was made with {key} {of_base}, and this configuration has {own};"
                " they have to be the same, as its parts are taken over"
            )
    paths = *whole.input.paths, *map(files.absolute, config.input.paths)
    pool = config.input.model_copy(update={"paths": paths, "columns": known})
    return config.model_copy(update={"input": pool, "base": None})


def begin(config: Config) -> None:
    """Make the run directory of `config` a copy of its base, where it does not go on with one."""
    if config.base is None or not config.out:
        return
    base, run = _opened(config.base), Run(files.absolute(config.out).rstrip("/"))
    if f"{run.root}/".startswith(f"{base.root}/"):
        raise CurateError(
            f"base: {run.root} is in {base.root}, which stays as it is; give another --out"
        )
    if state := run.state():
        if state.get(BASE) != base.root:
            raise CurateError(
                f"{run.root} holds a run that did not begin as a copy of {base.root} (base); give"
                " another --out"
            )
        return
    held = {*files.names(base.root)} - {str(Stage.REPORT)}
    if others := {*files.names(run.root)} - held - {lock.NAME}:
        raise CurateError(f"{run.root} is not empty ({min(others)}); give another --out")
    with lock.locked(base.root, shared=True):
        check(base)
        for name in files.sizes_below(base.root):
            if name not in _OWN and name.partition("/")[0] != Stage.REPORT:
                files.share(files.join(base.root, name), files.join(run.root, name))
        begun = {"state": "failed", "job": None, "reported": None, "took": None, BASE: base.root}
        files.write_document(run.path("run.json"), {**base.state(), **begun})


def _opened(url: str) -> Run:
    """The finished run at `url`."""
    run = Run.at(url)
    if run.source:
        raise CurateError(
            f"base: {url} is a rebalance of {run.source}, which has its pairs: name that"
        )
    if told := incomplete(run):
        raise CurateError(f"base: {told}")
    return run
