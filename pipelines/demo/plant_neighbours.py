"""Write the demo's pool: the real pairs, and among them the neighbours that pairs have on the web.

    python pipelines/demo/plant_neighbours.py

takes a second and writes ``pipelines/demo/pool/pool.jsonl`` from ``pairs.jsonl`` and
``other_languages.jsonl`` beside it. What the URLs stand for is in `curate.commands.demo`.
"""

import json
from pathlib import Path

POOL = Path(__file__).parent / "pool"
HOST = "http://pictures.example"


def read(name: str) -> list[dict[str, str]]:
    """The rows of a JSON lines file of the pool."""
    return [json.loads(line) for line in (POOL / name).read_text().splitlines()]


def neighbours(pairs: list[dict[str, str]]) -> list[dict[str, str]]:
    """Each kind of bad neighbour a few times, made from consecutive runs of the real pairs."""
    taken = iter(range(len(pairs)))

    def some(n: int) -> list[tuple[str, str]]:
        chosen = [pairs[next(taken)] for _ in range(n)]
        return [(pair["path"].removeprefix("images/"), pair["caption"]) for pair in chosen]

    rows = []
    rows += [(f"http://gone.example/{path}", text) for path, text in some(8)]
    rows += [(f"{HOST}/missing/{path}", text) for path, text in some(6)]
    rows += [(f"{HOST}/soft-404/{path}", text) for path, text in some(6)]
    rows += [(f"{HOST}/cut/{path}", text) for path, text in some(6)]
    rows += [(f"{HOST}/mislabelled/{path}", text) for path, text in some(5)]
    rows += [(f"{HOST}/icons/{path}", text) for path, text in some(5)]
    rows += [(f"{HOST}/reserved/{path}", text) for path, text in some(5)]
    rows += [(f"{HOST}/copies/{path}", f"{text}, free picture") for path, text in some(8)]
    rows += [(f"{HOST}/images/{path}?utm_source=feed", text) for path, text in some(4)]
    rows += [(f"{HOST}/moved/{path}", f"Moved: {text}") for path, text in some(3)]
    rows += [
        (f"{HOST}/images/{path}", blank)
        for (path, _), blank in zip(some(4), ("", " ", "\n", "\t "), strict=True)
    ]
    rows += [(f"ftp://pictures.example/{path}", text) for path, text in some(2)]
    rows += [(f"{HOST}/images/{path}", "zzkq 00x81c vvbn") for path, _ in some(3)]
    return [{"url": url, "caption": caption} for url, caption in rows]


def with_near_captions(pairs: list[dict[str, str]], *, n: int = 8) -> list[dict[str, str]]:
    """The last `n` pairs of different pictures get the captions of others, hardly changed."""
    kept, others = pairs[:-n], pairs[-n:]
    donors = [pair for pair in kept if len(pair["caption"]) > 60][:n]
    return kept + [
        {"path": other["path"], "caption": donor["caption"] + "!"}
        for other, donor in zip(others, donors, strict=True)
    ]


def with_wrong_captions(pairs: list[dict[str, str]], *, every: int = 14) -> list[dict[str, str]]:
    """Every 14th pair in the second half has the caption of the one 14 later: not of its picture."""
    rows = list(pairs)
    places = list(range(len(pairs) // 2, len(pairs) - 20, every))
    for here, there in zip(places, places[1:] + places[:1], strict=True):
        rows[here] = {"path": pairs[here]["path"], "caption": pairs[there]["caption"]}
    return rows


def pool() -> list[dict[str, str]]:
    """All rows of the demo's pool."""
    pairs = with_near_captions(with_wrong_captions(read("pairs.jsonl")))
    real = [{"url": f"{HOST}/{pair['path']}", "caption": pair["caption"]} for pair in pairs]
    foreign = [
        {"url": f"{HOST}/{pair['path']}?lang={pair['language']}", "caption": pair["caption"]}
        for pair in read("other_languages.jsonl")
    ]
    return real + foreign + neighbours(read("pairs.jsonl"))


def main() -> None:
    """Write the pool."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in pool()]
    (POOL / "pool.jsonl").write_text("".join(lines))
    print(f"{len(lines)} pairs")


if __name__ == "__main__":
    main()
