"""A comparison as files: the page, its numbers, and the pairs that changed."""

from curate import files
from curate.comparing import page
from curate.comparing.compare import DOCUMENT, PAGE, PAIRS, Comparison, compare, open_fates
from curate.comparing.figures import figures
from curate.errors import CurateError
from curate.report import charts
from curate.rundir.borrowed import source_kept


def write_comparison(first: str, second: str, *, out: str) -> Comparison:
    """Compare two runs and write ``index.html``, ``compare.json`` and ``changed.parquet`` to `out`.

    Raises
    ------
    CurateError
        Where there is no run, or a damaged one; and where `out` holds something else.
    """
    known = {PAGE, DOCUMENT, PAIRS}
    if others := sorted({*files.names(out)} - known):
        raise CurateError(f"--out {out} holds other files ({others[0]}); give another folder")
    a, b = open_fates(first), open_fates(second)
    with source_kept(a.run), source_kept(b.run):
        comparison, pictures = compare(a, b, out=out)
    drawn = figures(comparison) if charts.can_draw() else {}
    html = page.render(comparison, figures=drawn, thumbnails=pictures)
    files.write_json(files.join(out, DOCUMENT), comparison.to_json())
    files.write_bytes(files.join(out, PAGE), html.encode())
    return comparison
