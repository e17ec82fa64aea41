"""What a balance by perspectives counted of the pairs it kept, counted again after some were taken out.

tau, counts and probabilities stay what was decided on. A noun that no caption of the run holds any more
leaves the table of nouns.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import files
from curate.ops.hashing import hash64
from curate.ops.selection import occurrences
from curate.rundir.damage import PERSPECTIVES
from curate.rundir.directory import ANNOTATED, Run
from curate.schema import Stage
from curate.stages.adaptive.counting import Counting
from curate.stages.adaptive.written import Kept, SumKept, kept_in

NOUNS = files.join(Stage.BALANCE, ANNOTATED, "nouns")


def recount_perspectives(run: Run) -> None:
    """Write `PERSPECTIVES` and the tables of heads again, where they are not what the parts hold."""
    url = run.path(Stage.BALANCE, PERSPECTIVES)
    if not files.exists(url):
        return
    told = files.read_json(url)
    now = {}
    for name, of in told.items():
        table = files.read_table(run.path(Stage.BALANCE, f"{name}.parquet"))
        if name == "entries":  # which are counted by now
            kept = Kept(0, table["kept"].to_numpy())
            whole, head = int(kept.counts.sum()), table["count"].to_numpy() > of["tau"]
            now[name] = {**of, "kept": whole, "kept_head": int(kept.counts[head].sum())}
            continue
        kept = _kept(run, table, Counting(name, of["share"], of.get("first", {})))
        now[name] = {**of, "kept": kept.occurrences, "kept_head": int(kept.counts.sum())}
        column = "kept_occurrences" if name == "nouns" else "kept"
        at = table.column_names.index(column)
        left = table.set_column(at, table.schema.field(column), pa.array(kept.counts))
        if name == "nouns":
            left = left.filter(pc.is_in(left["noun"], value_set=_nouns(run)))
        if not left.equals(table):
            files.write_table(run.path(Stage.BALANCE, f"{name}.parquet"), left)
    if now != told:
        files.write_json(url, now)


def _kept(run: Run, table: pa.Table, counting: Counting) -> Kept:
    """What the kept pairs hold of a head, in the order of its table."""
    if counting.name == "nouns":
        keys = hash64(table["noun"])
    else:
        first = np.array([counting.first[x] for x in table["language"].to_pylist()], np.int64)
        ids = (table[x].to_numpy().astype(np.int64) + first for x in ("entry_id", "other_id"))
        keys = occurrences.keys_of(*ids)
    order = np.argsort(keys)
    sums = SumKept()
    total = sums.create_accumulator()
    for rows in run.tables(Stage.BALANCE, columns=counting.columns):
        total = sums.add_input(total, kept_in(rows, keys[order], counting))
    counts = np.zeros(len(keys), np.int64)
    if len(total.counts):
        counts[order] = total.counts
    return Kept(total.occurrences, counts)


def _nouns(run: Run) -> pa.Array:
    """All nouns that captions of the run hold."""
    found = pa.array([], pa.string())
    for rows in run.tables(NOUNS, columns=["nouns"]):
        here = pc.unique(pc.list_flatten(rows["nouns"]))
        found = pc.unique(pa.chunked_array([found, here], pa.string()))
    return found
