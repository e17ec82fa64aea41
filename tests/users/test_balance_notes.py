"""A t, p or size that changes nothing on a pool is said, with the t that would."""

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import Command


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pairs of text: `fox` stands in seven captions, `owl` in five."""
    folder = tmp_path_factory.mktemp("balance")
    rows = [
        {
            "url": f"http://pictures.example/{i}.jpg",
            "caption": f"a {'fox' if i < 7 else 'owl'} no {i}",
        }
        for i in range(12)
    ]
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "entries.txt").write_text("fox\nowl\nlynx\n")
    (folder / "c.yaml").write_text(
        json.dumps(
            {
                "input": {"paths": str(folder / "pool.jsonl")},
                "prepare": {
                    "metadata": {"en": str(folder / "entries.txt")},
                    "unsure": {"below": 0.999, "language": "en"},
                },
                "download": {"enabled": False},
                "dedup": {"enabled": False},
                "balance": {"t": 3},
            }
        )
    )
    return folder


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("t=20000", "balance.t 20,000 leaves no pair out: the most frequent entry matches 7 pairs."
                    " A t below 7 balances"),
        ("t=7", "balance.t 7 leaves no pair out"),
        ("size=400000000", "balance.size 400,000,000 is not below the 12 pairs that reach the balance"),
        ("size=12", "balance.size 12 is not below the 12 pairs"),
        ("p=0.999", "balance.p 0.999 leaves no pair out"),
        ("t=6", ""), ("size=6", ""),
    ],
)  # fmt: skip
def test_a_target_that_changes_nothing_says_which_would(
    pool: Path, curate: Command, asked: str, said: str, tmp_path: Path
) -> None:
    key, _, value = asked.partition("=")
    options = ("--set", f"balance={{{key}: {value}}}", "--out", str(tmp_path / "run"))
    done = curate("run", str(pool / "c.yaml"), *options)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "run/report/index.html").read_text()
    for told in (" ".join(done.stdout.split()), " ".join(page.split())):
        assert said in told
        if not said:
            assert "leaves no pair out" not in told
            assert "is not below" not in told


def test_a_sweep_says_which_values_do_nothing(pool: Path, curate: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert curate("run", str(pool / "c.yaml"), "--out", str(run)).returncode == 0
    done = curate("sweep", str(run), "--t", "10,20")
    assert "no t of these leaves a pair out: from 10 on there is no head" in done.stdout
    assert "no t of these" not in curate("sweep", str(run), "--t", "2,20").stdout
    done = curate("sweep", str(run), "--size", "5,20")
    assert "--size 20 is not below the 12 pairs that reach the balance: all stay" in done.stdout
    assert "--size 5 " not in done.stdout
