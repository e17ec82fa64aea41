"""What a rank sees of a set in an epoch: `python -m tests.loaders.reader KIND PATH RANK`.

Two ranks of two loader processes each; printed is a list of the keys, by rank.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

RANKS = WORKERS = 2


def webdataset(path: str, rank: int) -> Iterator[str]:
    """`split_by_node`, which reads RANK and WORLD_SIZE; it splits by worker in any case."""
    import webdataset as wds

    tars = [str(tar) for tar in sorted(Path(path).glob("*.tar"))]
    pairs = wds.WebDataset(tars, nodesplitter=wds.split_by_node, shardshuffle=False)
    decoded = pairs.decode("pil").to_tuple("__key__", "jpg", "txt")
    for key, image, caption in wds.WebLoader(decoded, batch_size=None, num_workers=WORKERS):
        assert image.size
        assert caption
        yield key


def wids(path: str, rank: int) -> Iterator[str]:
    import wids
    from torch.utils.data import DataLoader, DistributedSampler

    pairs = wids.ShardListDataset(f"{path}/index.json", keep=True)
    sampler: DistributedSampler[Any] = DistributedSampler(pairs, RANKS, rank, shuffle=False)
    loader = DataLoader(pairs, batch_size=None, sampler=sampler, num_workers=WORKERS)
    for sample in loader:
        assert sample[".jpg"].size
        yield sample["__key__"]


def energon(path: str, rank: int) -> Iterator[str]:
    from megatron.energon import WorkerConfig, get_loader, get_train_dataset

    pairs = get_train_dataset(
        path, batch_size=1, shuffle_buffer_size=None, max_samples_per_sequence=None, repeat=False,
        worker_config=WorkerConfig(rank=rank, world_size=RANKS, num_workers=WORKERS),
    )  # fmt: skip
    for batch in get_loader(pairs):
        assert batch.image.shape[1] == 3
        assert batch.caption[0]
        yield batch.__key__[0].rpartition("/")[2]


def mds(path: str, rank: int) -> Iterator[str]:
    from streaming import StreamingDataset
    from torch.utils.data import DataLoader

    pairs = StreamingDataset(local=path, batch_size=4, shuffle=False)
    for sample in DataLoader(pairs, batch_size=None, num_workers=WORKERS):
        assert json.loads(sample["json"])["key"] == sample["key"]
        assert sample["image"][:2] == b"\xff\xd8"
        yield sample["key"]


def lance(path: str, rank: int) -> Iterator[str]:
    from lance.torch.data import SafeLanceDataset
    from torch.utils.data import DataLoader, DistributedSampler

    pairs = SafeLanceDataset(path)
    sampler: DistributedSampler[Any] = DistributedSampler(pairs, RANKS, rank, shuffle=False)
    loader = DataLoader(
        pairs, batch_size=4, sampler=sampler, num_workers=WORKERS, collate_fn=list,
        multiprocessing_context="spawn",
    )  # fmt: skip
    for batch in loader:
        for row in batch:
            assert row["image"][:2] == b"\xff\xd8"
            yield row["key"]


READERS: dict[str, Callable[[str, int], Iterator[str]]] = {
    "webdataset": webdataset, "wids": wids, "energon": energon, "mds": mds, "lance": lance,
}  # fmt: skip


if __name__ == "__main__":
    kind, path, rank = sys.argv[1:]
    os.environ |= {
        "RANK": rank, "WORLD_SIZE": str(RANKS), "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": str(RANKS),
        "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1",
    }  # fmt: skip
    print(json.dumps(list(READERS[kind](path, int(rank)))))
