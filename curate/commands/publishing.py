"""`curate publish`: the set of a run as a repository of a hub."""

from typing import Annotated

import typer

from curate.commands.terminal import one_line_errors, out_console
from curate.rundir.directory import Run
from curate.rundir.lock import locked


def publish(
    run_directory: Annotated[str, typer.Argument(metavar="RUN", help="A finished run.")],
    repo: Annotated[str, typer.Option("--repo", metavar="USER/NAME", help="The repository.")],
    private: Annotated[
        bool, typer.Option("--private", help="Only where nobody else can see it.")
    ] = False,
    revision: Annotated[
        str, typer.Option("--revision", metavar="BRANCH", help="The branch.")
    ] = "main",
    endpoint: Annotated[
        str | None,
        typer.Option("--endpoint", metavar="URL", help="Another hub than huggingface.co."),
    ] = None,
) -> None:
    """Publish the set of a run: shards, tables, card, Croissant and manifest.

    Of a repository that has some of it, by its hashes, only the rest is sent; an interrupted command
    goes on so. After `curate revoke` it sends the shards that changed and removes those that went. A
    run is refused that is not finished or that `curate verify --quick` finds something wrong with. The
    token is that of `hf auth login`, or HF_TOKEN.
    """
    from curate.publishing.hub import Repository
    from curate.publishing.publish import check_name, had_revocations
    from curate.publishing.publish import publish as send

    with one_line_errors():
        check_name(repo)
        run = Run.at(run_directory)
        to = Repository(repo, revision, endpoint.rstrip("/") if endpoint else None)
        with locked(run.root, shared=True):
            done = send(run, to, private=private, tell=out_console.print)
        if had_revocations(run) and (done.send or done.remove):
            out_console.print(
                "earlier commits still hold what was revoked: squash them, as with huggingface_hub's"
                f' HfApi().super_squash_history("{repo}", repo_type="dataset")'
            )
        out_console.print(f"{to.address}  ({done.bytes / 1e6:,.1f} MB sent)")


def add_to(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command()(publish)
