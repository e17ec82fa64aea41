"""The pool's files: which they are, what belongs to each, and in which format it is."""

import os
from collections.abc import Iterator
from typing import Any

from curate import files
from curate.config import Config
from curate.errors import CurateError
from curate.ops.pool.rows import PoolFormat, UnreadableError
from curate.ops.pool.stored import STATS


def pool_format(config: Config) -> PoolFormat:
    """How the configured input is read."""
    columns = config.input.columns
    keep = tuple(columns.kept.items())
    return PoolFormat(config.input.format, **columns.model_dump(exclude={"keep"}), keep=keep)


def pool_files(config: Config) -> Iterator[tuple[str, list[str], str]]:
    """Path, images that belong to it, and format of each file of the pool, in order.

    A file comes once, where the first of `input.paths` matches it; with its images if any of them
    matches these too, which then are no files of the pool. What lies in the run directory is none
    either. The format is empty where neither name nor content tells it.
    """
    form = PoolFormat(config.input.format, url="", caption="")
    own = files.spelt(files.absolute(config.out)).rstrip("/") + "/" if config.out else None
    found: dict[str, tuple[str, list[str]]] = {}  # by the one spelling of the path
    for pattern in config.input.paths:
        everything = {x: files.spelt(x) for x in files.expand(files.absolute(pattern))}
        paths = [x for x, one in everything.items() if own is None or not one.startswith(own)]
        if everything and not paths:
            raise CurateError(
                f"input.paths: {pattern}: all that is there lies in the run directory {config.out},"
                " which is no pool of itself; give another --out"
            )
        pooled = list(_with_companions(paths, pool=form))
        if not pooled:
            raise CurateError(f"input.paths: {pattern}: no such file, folder or match")
        for path, companions in pooled:
            if everything[path] not in found or companions:
                found[everything[path]] = path, companions
    images = {files.spelt(x) for _, companions in found.values() for x in companions}
    for one, (path, companions) in found.items():
        if one not in images:
            yield path, companions, _format(path, form, is_shard=bool(companions))


def find_inputs(config: Config) -> tuple[dict[str, Any], ...]:
    """Path, name, format, bytes and digest of each file of the pool, in order.

    The name is what is left of the path without the folders that all share. The format is empty where
    neither name nor content tells it.
    """
    found = []
    for path, companions, form in pool_files(config):
        content = [path, *companions]
        digests = [files.content_digest(x) for x in content if x == path or _is_tar(x)]
        # Of images in a folder the sizes have to do: there may be millions of them.
        digests += [files.digest_of(files.sizes(x)) for x in companions if not _is_tar(x)]
        found.append(
            {
                "path": path, "format": form,
                "bytes": sum(files.size(x) for x in content if x == path or _is_tar(x)),
                "digest": digests[0] if len(digests) == 1 else files.digest_of(digests),
            }
        )  # fmt: skip
    names = _names([str(one["path"]) for one in found])
    return tuple({"name": name, **one} for name, one in zip(names, found, strict=True))


def _names(paths: list[str]) -> list[str]:
    folders = [path.rpartition("/")[0].split("/") for path in paths]
    shared = 0
    for names in zip(*folders, strict=False):
        if len(set(names)) > 1:
            break
        shared += 1
    return ["/".join(path.split("/")[shared:]) for path in paths]


def _is_tar(path: str) -> bool:
    return path.endswith(".tar")


def _format(path: str, pool: PoolFormat, *, is_shard: bool) -> str:
    if is_shard:
        return "img2dataset"
    try:
        return pool.of(path)
    except UnreadableError:
        return ""


def _with_companions(paths: list[str], *, pool: PoolFormat) -> Iterator[tuple[str, list[str]]]:
    """The files of a pool, each with the tar or folder of images that belongs to it.

    A parquet beside which statistics and images of its name stand is a shard of img2dataset; these,
    and other accounts in JSON beside them, are no files of the pool themselves.
    """
    present = set(paths)
    folders = {os.path.dirname(path) for path in paths}
    images: dict[str, list[str]] = {}
    for path in paths if pool.format in ("auto", "img2dataset") else ():
        stem = path.removesuffix(".parquet")
        if stem != path and (pool.format == "img2dataset" or stem + STATS in present):
            tar = f"{stem}.tar"
            asked = pool.format == "img2dataset"
            if tar in present or (asked and files.exists(tar)):
                images[stem] = [tar]
            elif stem in folders or (asked and files.exists(stem)):
                images[stem] = [stem]
    tars = {x for beside in images.values() for x in beside}
    homes = {os.path.dirname(stem) for stem in images}
    endings = {"img2dataset": ".parquet", "webdataset": ".tar"}
    ending = endings.get(pool.format, "") if len(paths) > 1 else ""
    for path in paths:
        stem, folder = path.removesuffix(".parquet"), os.path.dirname(path)
        is_beside = path in tars or folder in images or path.endswith(STATS)
        is_account = folder in homes and path.endswith(".json")
        if stem in images:
            yield path, images[stem]
        elif path.endswith(ending) and not is_beside and not is_account:
            yield path, []
