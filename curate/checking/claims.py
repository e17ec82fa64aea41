"""A tar, and the files beside it, against what lists say of them."""

from curate import files
from curate.checking.kinds import Kind
from curate.checking.task import Beside, Claim, Shard, Task
from curate.errors import AbsentError, CurateError, DamagedError


def read_stats(task: Task, found: Shard, claims: list[Claim], beside: list[Beside]) -> None:
    """Add what ``_stats.json`` says."""
    name = task.called("_stats.json")
    by = name.rpartition("/")[2]
    try:
        told = files.read_document(f"{task.stem}_stats.json")
    except (CurateError, OSError) as error:
        found.add(Kind.UNREADABLE, what=_without_url(error), file=name)
        return
    pairs, size, sha256 = (told.get(x) for x in ("successes", "bytes", "sha256"))
    claims.append(
        Claim(
            by,
            pairs if isinstance(pairs, int) else None,
            size if isinstance(size, int) else None,
            sha256 if isinstance(sha256, str) else None,
        )
    )
    if isinstance(content := told.get("parquet"), list) and task.table:
        beside.append(
            Beside(by, task.called(".parquet").rpartition("/")[2], files.Content(*content))
        )


def _without_url(error: Exception) -> str:
    text = str(error)
    if isinstance(error, DamagedError):
        return text.removeprefix(f"{error.url} is damaged: ")
    return text


def compare(
    task: Task, found: Shard, claims: list[Claim], digests: dict[str, str]
) -> frozenset[str]:
    """Compare a tar with what lists say of it; the lists that say something else."""
    wrong = set()
    sound = not any(one.shard == task.name for one in found.problems)
    counts: list[str] = []
    others: dict[Kind, list[str]] = {Kind.BYTES: [], Kind.HASH: []}
    for claim in claims:
        counted = not found.torn and claim.pairs not in (None, found.pairs)
        sized = sound and not counted and claim.size not in (None, found.bytes)
        hashed = sound and not counted and not sized and any(
            told not in (None, digests.get(name, told))
            for name, told in (("sha256", claim.sha256), ("md5", claim.md5))
        )  # fmt: skip
        if counted or sized or hashed:
            wrong.add(claim.by)
        if claim.kind is Kind.STALE_INDEX:
            if counted or sized or hashed:
                found.add(Kind.STALE_INDEX, what=f"{claim.by} is of another tar")
        elif counted:
            counts.append(f"{claim.pairs:,} by {claim.by}")
        elif sized:
            others[Kind.BYTES].append(f"{claim.size:,} by {claim.by}")
        elif hashed:
            others[Kind.HASH].append(claim.by)
    if counts:
        found.add(Kind.COUNT, what=f"{found.pairs:,} samples; {', '.join(counts)}")
    if others[Kind.BYTES]:
        found.add(Kind.BYTES, what=f"{found.bytes:,} bytes; {', '.join(others[Kind.BYTES])}")
    if others[Kind.HASH]:
        found.add(Kind.HASH, what=f"it is another by {', '.join(others[Kind.HASH])}")
    return frozenset(wrong)


def check_beside(task: Task, found: Shard, beside: list[Beside]) -> None:
    """Compare files beside a tar with what lists say of them, where nothing else is wrong there."""
    told = {one.shard for one in found.problems}
    for by, name, content in beside:
        label = task.name.rpartition("/")[0]
        label = f"{label}/{name}" if label else name
        if label in told:
            continue
        url = files.join(task.url.rpartition("/")[0], name)
        try:
            content.check(url, files.read_bytes(url))
        except AbsentError:
            continue  # told of the folder
        except (CurateError, OSError) as error:
            found.add(Kind.HASH, what=f"{_without_url(error)} ({by})", file=label)
            told.add(label)
