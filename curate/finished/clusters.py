"""Clusters of a run's images as a page to look at, and a table in which somebody says what stays."""

import csv
import io
from collections.abc import Sequence

from jinja2 import Environment

from curate import files
from curate.config import Config
from curate.errors import AbsentError, CurateError
from curate.files.texts import read_text
from curate.finding.clusters import Cluster, clusters_of
from curate.ops.scores.visual import digest_of
from curate.ops.selection.listed import STAMP
from curate.report.thumbnails import thumbnails
from curate.rundir.directory import SCORED, Run
from curate.rundir.scratch import HELD, VISUAL
from curate.summaries.tallies import Key

PAGE, TABLE = "index.html", "clusters.csv"
_FILLED = ("label", "keep", "drop")
"""The columns that a person fills in."""
_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ clusters|length }} clusters</title>
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; font: 14px/1.4 system-ui, sans-serif }
body { margin: 18px }
section { border-top: 1px solid gray; padding: 6px 0; content-visibility: auto }
h2 { font-size: 15px; margin: 4px 0 }
.row { display: flex; flex-wrap: wrap; gap: 8px }
img { display: block; max-width: 96px; max-height: 96px }
small { opacity: .7 }
</style></head><body>
<p>{{ clusters|length }} clusters of images. In {{ table }}, column keep or drop, yes tells what a rule
with in_file or not_in_file keeps or drops. A picture's caption shows where one points at it.</p>
{% for one in clusters %}<section id="{{ one.number }}">
<h2>{{ one.number }} <small>{{ "{:,}".format(one.pairs) }} pairs, {{ "{:,}".format(one.kept) }} kept
{%- if labels.get(one.number) %} · <bdi>{{ labels[one.number] }}</bdi>{% endif %}</small></h2>
<p><bdi>{{ one.words|join(", ") }}</bdi></p>
<div class="row">{% for pair in one.examples if pair.key in pictures %}
<img src="{{ pictures[pair.key] }}" alt="" title="{{ pair.caption }}">
{%- endfor %}</div></section>
{% endfor %}</body></html>
"""


def write_clusters(run: Run, config: Config, *, out: str, shown: int) -> list[Cluster]:
    """Write the page and the table of a run's clusters to the folder `out`; the clusters.

    What somebody has filled into a table that stands there, of the same clusters, stays.

    Raises
    ------
    CurateError
        Where the run has no clusters, or the table that stands is of others.
    """
    found = clusters_of(run, config, shown=shown)
    stamp = stamp_of(run, config)
    url = files.join(out, TABLE)
    filled = _filled(url, stamp)
    pictures = thumbnails(run, [pair for one in found for pair in one.examples])
    files.write_bytes(url, _table(found, filled, stamp).encode())
    labels = {number: said.get("label", "") for number, said in filled.items()}
    files.write_bytes(files.join(out, PAGE), _page(found, pictures, labels).encode())
    return found


def stamp_of(run: Run, config: Config) -> str:
    """What tells the clusters of a run from others: the digest in the file of their centroids."""
    asked = config.score.visual_cluster if config.score else None
    given = asked.centroids if asked else None
    url = files.absolute(given) if given else run.path(SCORED, VISUAL, HELD)
    try:
        return digest_of(url)
    except AbsentError:
        return ""


def _filled(url: str, stamp: str) -> dict[int, dict[str, str]]:
    """What a table that stands says of each cluster."""
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(url), newline="")))
    except AbsentError:
        return {}
    if any(row.get(STAMP) != stamp for row in rows):
        raise CurateError(
            f"{url}: is of other clusters than the run's, which have other numbers; give another --out"
        )
    return {
        int(row[VISUAL]): {name: row.get(name) or "" for name in _FILLED}
        for row in rows
        if (row.get(VISUAL) or "").isdecimal()
    }


def _table(clusters: Sequence[Cluster], filled: dict[int, dict[str, str]], stamp: str) -> str:
    held = io.StringIO(newline="")
    writer = csv.writer(held, lineterminator="\n")
    writer.writerow([VISUAL, "pairs", "kept_pairs", "words", *_FILLED, STAMP])
    for one in clusters:
        said = filled.get(one.number, {})
        told = [said.get(name, "") for name in _FILLED]
        writer.writerow([one.number, one.pairs, one.kept, " ".join(one.words), *told, stamp])
    return held.getvalue()


def _page(clusters: Sequence[Cluster], pictures: dict[Key, str], labels: dict[int, str]) -> str:
    page = Environment(autoescape=True).from_string(_TEMPLATE)
    return page.render(clusters=clusters, pictures=pictures, labels=labels, table=TABLE)
