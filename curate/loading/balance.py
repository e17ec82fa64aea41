"""Which pairs a trainer takes in an epoch, by the balance of a run."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate import files
from curate.config import file as config_file
from curate.errors import CurateError
from curate.loading.samples import Sample, columns_of
from curate.ops.selection.sampling import Probabilities, drawn, seed_of
from curate.rundir import counts
from curate.rundir.directory import Run
from curate.schema import Stage

_AHEAD = 64
"""Samples that are looked at together: one by one takes some 0.4 ms each."""
OfEpoch = float | Callable[[int], float]
"""A number, or one for each epoch."""


@dataclass(frozen=True)
class Sampler:
    """Takes, of the pairs of a run with ``balance: {write: all}``, those that a run with some t keeps.

    `shards` is its folder ``RUN/shards``, wherever that was copied to, or RUN itself.
    """

    shards: str

    @cached_property
    def sampling(self) -> counts.Sampling:
        """The counts of its entries; CurateError where there are none."""
        for folder in (self.shards, files.join(self.shards, Stage.SHARDS)):
            if files.exists(url := files.join(folder, counts.COUNTS)):
                return counts.read(url)
        if files.exists(files.join(self.shards, "run.json")):
            run = Run.at(self.shards)
            asked = config_file.load(run.path("config.yaml"))
            if asked.balance is not None and asked.balance.is_online:
                return counts.of_run(
                    run, seed=asked.seed, reference=asked.balance.reference, on=asked.balance.column
                )
        raise CurateError(
            f"{self.shards}: no {counts.COUNTS} here, which is beside the shards of a run with"
            " balance.write: all; give the folder of its shards, or the run"
        )

    def __getstate__(self) -> dict[str, str]:
        return {"shards": self.shards}

    def takes(
        self, pairs: pa.Table, *, t: float | None = None, epoch: int = 0
    ) -> NDArray[np.bool_]:
        """Whether each pair of a table is taken in an epoch, shape (n,).

        Parameters
        ----------
        pairs
            With the columns of the shards' parquet files, or of ``RUN/balance``: of these `uid`, and
            `language` and `matches` (or what ``balance.on`` names), or without `t` `keep_probability`.
        t
            As `balance.t`, of the language `balance.reference`; the others have the t of the same p.
            Without it, the balance of the run.
        epoch
            0 takes exactly the pairs that a run with this t keeps; others draw anew.
        """
        seed = seed_of(self.sampling.seed, epoch=epoch)
        keep = pairs["keep_probability"]
        if t is not None:
            keep = pa.array(self._at(t).of(pairs["language"], pairs[self.sampling.on]))
        return drawn(pairs["uid"], keep, seed=seed)

    def _at(self, t: float) -> Probabilities:
        """Those of the t that was asked for last are kept: an epoch asks for one."""
        if t not in self._known:
            self._known.clear()
            known = self.sampling
            self._known[t] = Probabilities.at(known.counts, t=t, reference=known.reference)
        return self._known[t]

    @cached_property
    def _known(self) -> dict[float, Probabilities]:
        return {}


@dataclass(frozen=True)
class resample:  # noqa: N801 - a stage, as webdataset's own are called
    """A WebDataset stage that takes the pairs of an epoch, by the balance at `t`.

    Of a run with ``balance: {soft_cap: …}`` it takes each pair as often as its `weight` says, one time
    after the other: shuffle behind it.

    Parameters
    ----------
    shards
        As for `Sampler`; by default the folder that the tar of each sample is in.
    t
        As `Sampler.takes` has it, or a function of the epoch, which anneals it.
    epoch
        The epoch, or a function that tells it, such as `get_value` of open_clip's `SharedEpoch`. It
        is asked whenever the loader begins with the shards again.
    """

    shards: str | None = None
    t: OfEpoch | None = None
    epoch: int | Callable[[], int] = 0
    _samplers: dict[str, Sampler] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """The samples that are taken, as they come; some are read ahead to be looked at together."""
        epoch = self.epoch() if callable(self.epoch) else self.epoch
        t = self.t(epoch) if callable(self.t) else self.t
        samples = iter(samples)
        while ahead := list(islice(samples, _AHEAD)):
            rows = zip(ahead, map(columns_of, ahead), map(self._folder, ahead), strict=True)
            for folder, together in groupby(rows, key=itemgetter(2)):
                some = [(sample, row) for sample, row, _ in together]
                times = self._times([row for _, row in some], folder, t=t, epoch=epoch)
                for (sample, _), n in zip(some, times, strict=True):
                    yield from ({**sample} for _ in range(n))  # later stages may change it

    def _folder(self, sample: Sample) -> str:
        """The folder of the shards that a sample is of."""
        if self.shards is not None:
            return self.shards
        url = str(sample.get("__url__", ""))
        if not url or url.startswith("pipe:"):
            raise CurateError(
                f"sample {sample.get('__key__')}: of {url or 'no file'}, which tells of no folder of"
                " shards; give resample(shards=FOLDER)"
            )
        return url.rpartition("/")[0] or "."

    def _times(
        self, rows: list[dict[str, Any]], folder: str, *, t: float | None, epoch: int
    ) -> list[int]:
        """How often each of some pairs from the shards in `folder` is taken."""
        if "weight" in rows[0] and "keep_probability" not in rows[0]:
            if t is not None:
                raise CurateError(f"{folder}: t={t:g}: pairs that a soft cap drew have no t")
            return [int(row["weight"]) for row in rows]
        if folder not in self._samplers:
            self._samplers[folder] = Sampler(folder)
        sampler = self._samplers[folder]
        on = sampler.sampling.on  # said first where it is not there
        found: list[int] = sampler.takes(_table(rows, t=t, on=on), t=t, epoch=epoch).tolist()
        return found


_TYPES = {"uid": pa.string(), "language": pa.string(), "keep_probability": pa.float64()}


def _table(rows: list[dict[str, Any]], *, t: float | None, on: str) -> pa.Table:
    """The columns of some samples that `Sampler.takes` reads; `on` is that of their entries."""
    types = {**_TYPES, on: pa.list_(pa.int32())}
    names = ["uid", "keep_probability"] if t is None else [*types]
    for row in rows:
        if missing := [name for name in names if name not in row]:
            raise CurateError(
                f"sample {row.get('key')}: no {missing[0]} in its json; the shards are not of a run"
                " with balance.write: all"
            )
    return pa.table({x: pa.array([row[x] for row in rows], types[x]) for x in names})
