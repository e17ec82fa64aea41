"""report: the records of all stages and what they counted -> the page, its numbers, figures and cards.

One small step without Beam. It drops nothing, and a repeat writes the same files.
"""

from curate import files
from curate.clock import spent
from curate.config import Config
from curate.planning.steps import Steps, steps_of
from curate.report import page
from curate.report.cards import datacard
from curate.report.counted import counted
from curate.report.croissant import croissant
from curate.report.facts import collect
from curate.report.figures import draw
from curate.report.thumbnails import thumbnails
from curate.report.training import training_summary
from curate.rundir.directory import CARD, Run
from curate.schema import Stage

HOSTS, DOMAINS = "hosts.parquet", "domains.parquet"


def write_report(run: Run, config: Config, *, steps: Steps | None = None) -> str:
    """Write ``report/`` of the run, and the card of its shards; the URL of ``index.html``.

    `steps` are those of `config`, where they are known already.
    """
    steps = steps or steps_of(config)

    def path(name: str) -> str:
        return run.path(Stage.REPORT, name)

    with spent("facts"):
        found = counted(run, steps)
        facts = collect(run, config, steps=steps, found=found)
    for table, rows in ((HOSTS, found.hosts), (DOMAINS, found.sites and found.sites.table)):
        if rows is not None:
            files.write_table(path(table), rows)
        else:
            files.remove(path(table))
    figures = draw(facts)
    pictures = thumbnails(run, page.examples(facts)) if facts.images else {}
    name = run.root.rstrip("/").rsplit("/", 1)[-1]
    html = page.render(facts, figures=figures, thumbnails=pictures, config=config, name=name)
    texts = {
        "datacard.md": datacard(facts, config=config, name=name),
        "croissant.json": croissant(facts, config=config, name=name),
        "index.html": html,
        "training_summary.md": training_summary(
            facts, config=config, name=name, domains=found.sites and found.sites.table
        ),
    }
    drawn = {f"{figure}.png" for figure in figures}
    for left in files.names(run.path(Stage.REPORT)):
        if texts.get(left, "") is None or (left.endswith(".png") and left not in drawn):
            files.remove(path(left))
    files.write_json(path("report.json"), facts.to_json())
    for figure in figures.values():
        files.write_bytes(path(f"{figure.name}.png"), figure.png)
    for target, text in texts.items():
        if text is not None:
            files.write_bytes(path(target), text.encode())
    if facts.shards:
        files.write_bytes(run.path(Stage.SHARDS, CARD), str(texts["datacard.md"]).encode())
    return path("index.html")
