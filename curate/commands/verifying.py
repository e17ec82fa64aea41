"""`curate verify`: whether shards are what they should be, and repaired copies of them."""

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from curate.commands.counting import counted
from curate.commands.terminal import Workers, error_console, many, one_line_errors, out_console
from curate.errors import CurateError

if TYPE_CHECKING:
    from curate.checking.kinds import Problem
    from curate.checking.sets import Set
    from curate.checking.task import Options, Shard

Shards = Annotated[
    list[str],
    typer.Argument(
        metavar="SHARDS|RUN",
        help="A run, or WebDataset tars: folders, files, globs, {000..099}.tar.",
    ),
]
_USAGE = 2
"""The exit code where nothing could be checked; that of problems is 1."""
_EVERY = 0.5  # seconds between two looks at how far it is


def verify(
    shards: Shards,
    images: Annotated[bool, typer.Option("--images", help="Decode every image.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Compare sizes and counts with the lists, no hashes.")
    ] = False,
    fix: Annotated[
        str | None,
        typer.Option("--fix", metavar="DIR", help="Write repaired copies to a new folder."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON object a line: problems, then a summary.")
    ] = False,
    workers: Workers = None,
) -> None:
    """Check shards, ours or others': tars, samples, keys, and the tables and lists beside them.

    Prints a line a problem. Exits with 0 where there is none, with 1 where there are some, and with 2
    where nothing could be checked.
    """
    from curate.checking.fix import check_target
    from curate.checking.sets import find
    from curate.checking.task import Options

    with one_line_errors(_USAGE):
        if workers is not None and workers < 1:
            raise CurateError(f"--workers {workers}: expected 1 or more")
        found = find(shards)
        options = Options(images, hashes=not quick)
        if fix is not None:
            check_target(fix, found)
        problems = _verified(found, options, workers=workers, fix=fix, as_json=as_json)
    if problems:
        raise typer.Exit(1)


def _verified(
    found: "Set", options: "Options", *, workers: int | None, fix: str | None, as_json: bool
) -> int:
    """Check a set, print what is wrong, and write the copies; how many problems there are."""
    from curate.checking.fix import write_fixed
    from curate.checking.runs import check_run
    from curate.checking.verify import check_all, check_together, default_workers

    kinds: Counter[str] = Counter()
    n = workers or default_workers(found.tasks, options)
    console = error_console if as_json else out_console

    def tell(problems: "Sequence[Problem]") -> None:
        kinds.update(one.kind for one in problems)
        for one in problems:
            print(_json(one)) if as_json else out_console.print(one.line())

    tell(found.problems)
    if found.run is not None:
        tell([*check_run(found.run, hashes=options.hashes)])
    checked: list[Shard] = []
    with ExitStack() as opened:
        if len(found.tasks) > 1:
            told = f"verify: {many(len(found.tasks), 'tar')} in {found.root}"
            opened.enter_context(
                counted(
                    console, told, total=len(found.tasks), done=lambda: len(checked), every=_EVERY
                )
            )
        for one in check_all(found.tasks, options, workers=n):
            tell(one.problems)
            one.problems = []
            checked.append(one)
    usual, problems = check_together(checked, found.tasks)
    tell(problems)
    _summary(found, checked, kinds, as_json=as_json)
    if fix is not None:
        written = write_fixed(found, options, problems, usual, out=fix, workers=n)
        copied = f"{many(written.pairs, 'sample')} in {many(written.shards, 'tar')}"
        console.print(f"fixed   {fix}  ({copied}, {written.left_out:,} left out)")
    return kinds.total()


def _json(problem: "Problem") -> str:
    told = {"shard": problem.shard, "key": problem.key, "kind": problem.kind, "what": problem.what}
    return json.dumps({**told, "remedy": problem.kind.row.remedy})


def _summary(
    found: "Set", checked: "Sequence[Shard]", kinds: Counter[str], *, as_json: bool
) -> None:
    """Print what was checked, and how many problems there are of each kind."""
    pairs, size = sum(one.pairs for one in checked), sum(one.bytes for one in checked)
    if as_json:
        summary = {"tars": len(checked), "samples": pairs, "bytes": size, "problems": dict(kinds)}
        print(json.dumps({"summary": summary}))
        return
    for kind, n in kinds.most_common():
        out_console.print(f"{n:9,}  {kind}")
    verdict = many(kinds.total(), "problem") if kinds else "clean"
    out_console.print(
        f"{verdict}: {many(pairs, 'sample')} in {many(len(checked), 'tar')},"
        f" {size / 1e6:,.1f} MB, {found.root}"
    )


def add_to(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command()(verify)
