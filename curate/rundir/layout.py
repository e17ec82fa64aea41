"""Where everything is in a run directory.

RUN/
  run.json  config.yaml
  .lock                            (local runs) while a command is at work here
  revoked.parquet                  hashes of what was revoked from the run, where something was
  input/                           pool files that had to be cut into parts first, and parts.json;
                                   found/: what is known of them until all are cut
  prepare/ download/ dedup/ score/ balance/
     part-00000.parquet            rows kept after this stage, this stage's columns added
     part-00000.tar                (download only) the images
  dropped/STAGE/part-00000.parquet   every row that the stage dropped: reason and value
  dead/STAGE/part-00000.parquet      every row that it could not handle; a part of none has no file
                                   here, but the first always has one
  annotated/download/ annotated/score/
     part-00000.parquet            what was fetched or scored, every row that came in, before rules
     part-00000.journal/           (local runs) what was fetched of a part that is in work, or how
                                   many of its rows are scored
     part-00000.npz                (score, where asked for) the embeddings of these rows
     NAME/part-00000.parquet       (score) the column of a further score, or of one that is made of
                                   embeddings
     nouns/part-00000.parquet      (balance.adaptive) the nouns of each caption
     NAME/texts/DIGEST/00000.npy   (score of kind entities) vectors of lists' entries, none of a pair
     semantic_duplicate/           (score) who stays in the place of each pair, if it is none itself
  records/STAGE/ records/annotated/STAGE/
     part-00000.json               a PartRecord, written last: the part is done when it exists
     quantiles.json                the cuts of the stage's rules over a fraction
  records/dedup/clusters.json  records/balance/thresholds.json perspectives.json
  clusters/part-00000.parquet      (dedup) who stays, for the pairs not alone
  entries/entries.parquet          (balance) each entry: count, probability, kept
          pairs.parquet nouns.parquet  (balance.adaptive) those that occur more than tau times
  places/part-00000.parquet        (prepare) where the images lie that came with the pool
  summaries/STAGE/                 what is counted of each 256 parts, and in which a uid or URL is
  subset/STAGE/uids.npy            (without images) the pairs of the last stage as a DataComp subset
  shards/00000.tar 00000.parquet 00000_stats.json manifest.json sizes.json README.md
     held/                         while the run grows: the set that it had; see `curate.rundir.held`
  report/

A folder of a stage, and one in ``dropped`` and ``dead``, holds a table of one schema in its parts and
nothing else, so what reads folders reads these (``pandas.read_parquet("RUN/balance")``); among the
images, ``RUN/download/*.parquet``.
The annotated files are there so that a changed rule repeats neither a download nor a model pass.
A rebalanced run has no folders of the stages before balance: it reads those of its `source`.

The code names a file by the step that writes it: ``STAGE/NAME``, ``STAGE/annotated/NAME``. `place`
says where that is. Runs of layout 1 have everything where its name says, and keep it there.
"""

import re
from typing import Any

from curate.errors import CurateError
from curate.schema import Stage

ANNOTATED = "annotated"
LAYOUT = 2
"""That of a new run: the key `layout` of run.json."""

_WITH_PARTS = frozenset(Stage) - {Stage.SHARDS, Stage.REPORT}
_BESIDE = {
    f"{Stage.PREPARE}/places": "places",
    f"{Stage.DEDUP}/clusters": "clusters",
    f"{Stage.DEDUP}/keys": "keys",
    **{
        f"{Stage.BALANCE}/{x}.parquet": f"entries/{x}.parquet"
        for x in ("entries", "pairs", "nouns")
    },
    f"{Stage.BALANCE}/work": "entries/work",
}
"""What a stage writes beside its parts, but its records."""
_PLACES = re.compile(r"(part-\d+)\.places\.parquet$")
_SUBSET = "uids.npy"
SUMMARIES = "summaries"
"""The folder, beside the parts of a stage, of what is counted of them; see `curate.summaries`."""


def place(name: str, *, layout: int) -> str:
    """The path of the file or folder of this name, relative to the run.

    >>> place("balance/part-00000.json", layout=2), place("score/annotated/nsfw", layout=2)
    ('records/balance/part-00000.json', 'annotated/score/nsfw')
    """
    stage, _, rest = name.partition("/")
    if layout == 1 or not rest or stage not in _WITH_PARTS:
        return name
    folder = stage
    if rest.partition("/")[0] == ANNOTATED:
        folder, rest = f"{ANNOTATED}/{stage}", rest.partition("/")[2]
    if rest.endswith(".json"):
        return f"records/{folder}/{rest}"
    if rest.partition("/")[0] == SUMMARIES:
        return f"{SUMMARIES}/{stage}{rest[len(SUMMARIES) :]}"
    if rest == _SUBSET:
        return f"subset/{stage}/{rest}"
    path = _PLACES.sub(r"places/\1.parquet", f"{folder}/{rest}".rstrip("/"))
    for beside, where in _BESIDE.items():
        if path == beside or path.startswith(f"{beside}/"):
            return where + path[len(beside) :]
    return path


def folders(stage: Stage, *, layout: int) -> list[str]:
    """All folders that `stage` writes to, relative to the run."""
    found = [str(stage), f"dropped/{stage}", f"dead/{stage}"]
    if layout == 1:
        return found
    found += [f"{ANNOTATED}/{stage}", f"records/{stage}", f"records/{ANNOTATED}/{stage}"]
    beside = [x.partition("/")[0] for of, x in _BESIDE.items() if of.partition("/")[0] == stage]
    return [*found, f"subset/{stage}", f"{SUMMARIES}/{stage}", *beside]


def layout_of(state: dict[str, Any], *, root: str) -> int:
    """The layout of the run whose run.json holds `state`; the latest where it is empty, of a new run.

    Raises
    ------
    CurateError
        Where a later version of curate made the run.
    """
    layout: int = state.get("layout", 1) if state else LAYOUT
    if layout > LAYOUT:
        raise CurateError(
            f"{root} is of layout {layout}, and this version of curate knows {LAYOUT} at most: take"
            f" a later one ({state.get('versions', {}).get('curate', '?')} made it)"
        )
    return layout
