"""Whether a plan would replace a finished set of an earlier run by another."""

from curate import files
from curate.errors import DamagedError
from curate.planning.plan import Plan
from curate.rundir import borrowed
from curate.rundir.directory import MANIFEST, PART_STAGES, SUBSET
from curate.schema import Stage


def replaced(plan: Plan) -> str | None:
    """What finished set of an earlier run `plan` would replace by another, and why; None for none.

    A set is finished while its manifest stands: `settle` removes that of one that is to be replaced,
    so an unfinished run goes on without a question. One that only grows is not replaced.
    """
    run = plan.run
    manifest = run.path(Stage.SHARDS, MANIFEST)
    if run.state().get("base") and run.state()["state"] != "complete":
        return None  # the copy of a set that stays where it is
    if Stage.SHARDS not in plan.steps.stages:
        return _replaced_subset(plan)
    if not files.exists(manifest):
        return None
    try:
        found = files.read_document(manifest)
    except DamagedError:
        return None  # it tells of no set
    other = borrowed.changed(run)
    known = {one[Stage.SHARDS].chain for one in (plan.digests, *plan.earlier)}
    if found.get("digest") in known and not other:
        return None
    n, when = len(found["shards"]), files.modified(manifest)
    held = f"{found['pairs']:,} pairs in {n:,} shard{'s' * (n != 1)}, {when}"
    return _told(plan, run.path(Stage.SHARDS), held, because=other)


def _replaced_subset(plan: Plan) -> str | None:
    run, last = plan.run, plan.steps.upstream(Stage.SHARDS)
    for stage in PART_STAGES:
        url = run.path(stage, SUBSET)
        if not run.makes(stage) or not files.exists(url):
            continue
        records = run.record_table(stage)
        digests = records["digest"].unique().to_pylist()
        known = [[one[last].chain] for one in (plan.digests, *plan.earlier)]
        if stage != last or digests not in known:
            held = f"{sum(records['kept'].to_pylist()):,} pairs, {files.modified(url)}"
            return _told(plan, url, held, because=[])
    return None


def _told(plan: Plan, where: str, held: str, *, because: list[str]) -> str:
    for folder, digest in plan.digests.items():
        first = plan.run.record_table(folder)["digest"][:1].to_pylist()
        if first != [digest.chain]:
            because = because or [folder.split("/")[0]]
    why = because[0] if because else "the configuration"
    return f"{where} holds a finished set ({held}), which this replaces, as {why} has changed"
