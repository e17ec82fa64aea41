"""Benchmarks: `python -m tests.bench [NAME ...]`, each a ratio against a reference in the same run."""

import importlib
import os
import pkgutil
import sys
from pathlib import Path


def main() -> None:
    """Run the named benchmarks, or all of them."""
    known = sorted(
        module.name
        for module in pkgutil.iter_modules([str(Path(__file__).parent)])
        if not module.name.startswith("_") and module.name != "pools"
    )
    names = sys.argv[1:] or known
    for name in names:
        if name not in known:
            sys.exit(f"no benchmark {name!r}; there are: {', '.join(known)}")
    cores = len(os.sched_getaffinity(0))
    print(
        f"Python {sys.version.split()[0]}, {cores} cores; figures of one run, compare ratios only"
    )
    for name in names:
        print(f"\n{name}")
        importlib.import_module(f"tests.bench.{name}").main()


if __name__ == "__main__":
    main()
