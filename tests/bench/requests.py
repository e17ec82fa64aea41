"""Requests to an object store, a part of the demo: those of eleven parts less those of six, by kind.

They are counted, not timed: the figure is the same on any machine.
"""

from collections import Counter

from curate.commands.demo import demo_config, serve
from curate.planning.plan import make_plan
from curate.running.execute import execute, prepare_run
from tests.store import PROTOCOL, counted_store


def requests(rows: int) -> tuple[int, Counter[str]]:
    """How many parts of `rows` rows the demo has, and the requests of its graph."""
    with serve() as addresses, counted_store() as counted:
        out = f"{PROTOCOL}://bucket/run"
        plan = make_plan(demo_config(addresses, out=out, overrides=(f"part_rows={rows}",)))
        standing = prepare_run(plan)
        counted.clear()
        execute(plan, standing)
        kinds: Counter[str] = Counter()
        for (kind, _), n in counted.items():
            kinds[kind] += n
    return len(plan.parts), kinds


def main() -> None:
    """One line."""
    (parts, few), (more, many) = requests(100), requests(48)
    a_part = {kind: (many[kind] - few[kind]) / (more - parts) for kind in sorted(many)}
    told = ", ".join(f"{kind} {n:.1f}" for kind, n in a_part.items() if n)
    print(
        f"  {sum(a_part.values()):.1f} requests a part ({told}), {few.total()} in all for {parts}"
    )
