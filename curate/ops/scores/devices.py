"""The devices of this machine that models run on, as `score.workers` shares them out."""

import os
from dataclasses import dataclass

from curate.errors import CurateError

FAKE = "CURATE_FAKE_DEVICES"
"""Variable with a number of devices that are taken to be here; each is the CPU under another name."""


@dataclass(frozen=True)
class Device:
    """What may have a model of its own: a GPU, the CPU, or a fake that computes on the CPU."""

    name: str
    torch: str  # what torch calls it


def visible() -> tuple[Device, ...]:
    """The GPUs that this process sees, or else the CPU; imports torch.

    Raises
    ------
    CurateError
        Where the number of fakes is none.
    """
    if fakes := os.environ.get(FAKE):
        if not fakes.isdigit() or not int(fakes):
            raise CurateError(f"{FAKE}={fakes}: expected a number of devices, 1 or more")
        return tuple(Device(f"fake device {n}", "cpu") for n in range(int(fakes)))
    import torch

    names = [f"cuda:{n}" for n in range(torch.cuda.device_count())]
    return tuple(Device(name, name) for name in names or ["cpu"])


def shared(workers: int | None) -> tuple[Device, ...]:
    """The device of each process that runs a model for the workers of this machine.

    Empty where each worker runs the model itself: on the CPU, unless `workers` asks for processes.
    """
    found = visible()
    if workers is None:
        return () if found[0].name == "cpu" else found
    return tuple(found[n % len(found)] for n in range(workers))
