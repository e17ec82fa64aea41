"""Listings that are kept: what this process writes or removes is seen, and nothing is kept for long."""

from pathlib import Path

from curate import files
from tests.store import PROTOCOL, CountedStore, counted_store

ROOT = f"{PROTOCOL}://b/run"


def asked(folder: str) -> int:
    return CountedStore.requests["list", f"b/run{folder}"]


def test_a_folder_is_listed_once_until_something_changes_in_it() -> None:
    with counted_store():
        files.write_json(f"{ROOT}/a/1.json", {})
        with files.listings_kept(ROOT):
            for _ in range(3):
                assert files.names(f"{ROOT}/a") == ["1.json"]
                assert list(files.sizes(f"{ROOT}/a")) == ["1.json"]
                assert files.names(f"{ROOT}/none") == []
            assert (asked("/a"), asked("/none")) == (1, 1)
            files.write_json(f"{ROOT}/a/2.json", {})
            files.write_json(f"{ROOT}/none/3.json", {})
            assert files.names(f"{ROOT}/a") == ["1.json", "2.json"]
            assert files.names(f"{ROOT}/none") == ["3.json"]
            files.remove_file(f"{ROOT}/a/1.json")
            assert files.names(f"{ROOT}/a") == ["2.json"]
            files.remove(ROOT)
            assert files.names(f"{ROOT}/a") == files.names(f"{ROOT}/none") == []


def test_a_folder_that_comes_is_seen_in_the_one_above() -> None:
    with counted_store(), files.listings_kept(ROOT):
        assert files.names(ROOT) == []
        files.write_json(f"{ROOT}/a/b/1.json", {})
        assert files.names(ROOT) == ["a"]


def test_what_others_wrote_is_seen_once_the_block_has_ended_or_where_they_are_at_work() -> None:
    with counted_store():
        with files.listings_kept(ROOT):
            assert files.names(f"{ROOT}/a") == []
            CountedStore.objects["b/run/a/1.json"] = b"{}"
            assert files.names(f"{ROOT}/a") == []
            with files.listings_anew():
                assert files.names(f"{ROOT}/a") == ["1.json"]
                CountedStore.objects["b/run/a/2.json"] = b"{}"
                assert files.names(f"{ROOT}/a") == ["1.json", "2.json"]
            CountedStore.objects["b/run/a/3.json"] = b"{}"
            assert len(files.names(f"{ROOT}/a")) == 3
        CountedStore.objects["b/run/a/4.json"] = b"{}"
        assert len(files.names(f"{ROOT}/a")) == 4


def test_folders_beside_are_listed_each_time() -> None:
    with counted_store(), files.listings_kept(ROOT):
        assert files.names(f"{ROOT}-2/a") == []
        CountedStore.objects["b/run-2/a/1"] = b""
        assert files.names(f"{ROOT}-2/a") == ["1"]


def test_folders_that_were_listed_ahead_are_not_listed_again() -> None:
    with counted_store(), files.listings_kept(ROOT):
        files.list_ahead([f"{ROOT}/a", f"{ROOT}/b", f"{ROOT}/a"])
        assert files.names(f"{ROOT}/a") == files.names(f"{ROOT}/b") == []
        assert (asked("/a"), asked("/b")) == (1, 1)


def test_nothing_is_removed_that_is_known_not_to_be_there() -> None:
    with counted_store(), files.listings_kept(ROOT):
        files.list_ahead([f"{ROOT}/a"])
        CountedStore.requests.clear()
        files.remove(f"{ROOT}/a/1.json")
        files.remove(f"{ROOT}/a")
        assert CountedStore.requests == {}


def test_links_are_followed_and_names_that_are_no_unicode_are_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abc")
    (tmp_path / "b.txt").symlink_to(tmp_path / "a.txt")
    (tmp_path / "lost.txt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    (tmp_path / "\udcff.txt").write_text("")
    found = files.listed(str(tmp_path))
    assert found["name"].to_pylist() == ["a.txt", "b.txt", "folder", "lost.txt"]
    assert found["size"].to_pylist() == [3, 3, None, None]
    assert "\udcff.txt" in files.names(str(tmp_path))
    assert files.sizes(str(tmp_path)) == {"a.txt": 3, "b.txt": 3, "\udcff.txt": 0}
