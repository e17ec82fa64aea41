"""The demo's pool is what its script makes of the real pairs, and its server is what the URLs say."""

import json
import urllib.error
import urllib.request
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

import pytest

from curate.commands.demo import serve
from curate.files import shipped


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = shipped("pipelines/demo/pool").parent / "plant_neighbours.py"
    spec = spec_from_file_location("plant_neighbours", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_shipped_pool_is_what_the_script_makes(script: ModuleType) -> None:
    lines = shipped("pipelines/demo/pool/pool.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == script.pool()
    assert len(lines) == 509


@pytest.mark.parametrize(
    ("path", "status", "kind", "begins"),
    [
        ("/images/0001.jpg", 200, "image/jpeg", b"\xff\xd8\xff"),
        ("/copies/0001.jpg", 200, "image/jpeg", b"\xff\xd8\xff"),
        ("/moved/0001.jpg", 200, "image/jpeg", b"\xff\xd8\xff"),
        ("/soft-404/0001.jpg", 200, "text/html", b"<!DOCTYPE html>"),
        ("/mislabelled/0001.jpg", 200, "image/jpeg", b"%PDF"),
        ("/icons/0001.jpg", 200, "image/png", b"\x89PNG"),
        ("/missing/0001.jpg", 404, "text/plain", b"not found"),
        ("/images/9999.jpg", 404, "text/plain", b"not found"),
    ],
)
def test_the_server_does_what_its_docstring_says(
    path: str, status: int, kind: str, begins: bytes
) -> None:
    with serve() as addresses:
        url = f"http://{addresses['pictures.example']}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                got, headers, body = response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            got, headers, body = error.code, error.headers, error.read()
    assert (got, headers["Content-Type"]) == (status, kind)
    assert body.startswith(begins)


def test_cut_and_reserved_pictures() -> None:
    with serve() as addresses:
        base = f"http://{addresses['pictures.example']}"
        whole = urllib.request.urlopen(f"{base}/images/0001.jpg", timeout=10).read()
        assert (
            urllib.request.urlopen(f"{base}/cut/0001.jpg", timeout=10).read()
            == whole[: len(whole) // 2]
        )
        with urllib.request.urlopen(f"{base}/reserved/0001.jpg", timeout=10) as response:
            assert response.headers["X-Robots-Tag"] == "noai"
