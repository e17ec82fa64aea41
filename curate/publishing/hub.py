"""A hub's repositories of data sets, through `huggingface_hub`; its errors as one line."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from curate import files
from curate.errors import CurateError
from curate.files.stores import told_of_temporary
from curate.publishing.contents import Item, Stored

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

_CLIENTS = frozenset(["huggingface_hub", "httpx", "httpx2", "httpcore", "httpcore2", "requests"])
_KIND = "dataset"
_LOGIN = "log in (hf auth login), or set HF_TOKEN to a token that may write there"
_REFUSED = {
    401: f"the hub wants a token, or does not accept this one: {_LOGIN}",
    403: f"the token may not do this: {_LOGIN}",
    404: f"there is no such repository, or this token may not see it: {_LOGIN}",
}


@dataclass(frozen=True)
class Repository:
    """A branch of a repository at a hub."""

    name: str  # USER/NAME
    revision: str
    endpoint: str | None = None

    @property
    def address(self) -> str:
        """Of its page."""
        return f"{self._api.endpoint}/datasets/{self.name}"

    @property
    def _api(self) -> Any:
        if self.endpoint is not None:  # what the library asks beside, it asks there, too
            os.environ["HF_ENDPOINT"] = self.endpoint
        from huggingface_hub import HfApi
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()
        return HfApi(endpoint=self.endpoint, library_name="curate")

    def create(self, *, private: bool) -> None:
        """Make the repository and the branch, where there is none.

        Raises
        ------
        CurateError
            Where it is public and has to be private.
        """
        api = self._api
        with self._told():
            api.create_repo(self.name, repo_type=_KIND, private=private or None, exist_ok=True)
            is_public = private and not api.repo_info(self.name, repo_type=_KIND).private
            if self.revision != "main":
                api.create_branch(self.name, branch=self.revision, repo_type=_KIND, exist_ok=True)
        if is_public:
            raise CurateError(
                f"--private: {self.name} is there already and is public; make it private in its"
                " settings, or give another"
            )

    def files(self) -> dict[str, Stored]:
        """The files that it has, by their names."""
        from huggingface_hub.hf_api import RepoFile

        with self._told():
            return {
                one.path: Stored(one.size, one.blob_id, one.lfs.sha256 if one.lfs else None)
                for one in self._api.list_repo_tree(
                    self.name, recursive=True, revision=self.revision, repo_type=_KIND
                )
                if isinstance(one, RepoFile)
            }

    def commit(self, items: Sequence[Item], remove: Sequence[str], *, message: str) -> None:
        """Send files and remove others, all at once for who reads the repository.

        Raises
        ------
        CurateError
            Where a file is not what the manifest says, or the hub refuses it.
        """
        from huggingface_hub import CommitOperationDelete

        api = self._api
        with _additions(items) as additions, self._told():
            api.preupload_lfs_files(
                self.name, additions, repo_type=_KIND, revision=self.revision, free_memory=False
            )
            for item, one in zip(items, additions, strict=True):
                if item.sha256 not in (None, one.upload_info.sha256.hex()):
                    raise CurateError(
                        f"{item.url}: it is not what the manifest says, and is not published; see"
                        " what else is wrong by: curate verify RUN"
                    )
            removals = [CommitOperationDelete(path_in_repo=name) for name in remove]
            api.create_commit(
                self.name, [*additions, *removals], commit_message=message, repo_type=_KIND,
                revision=self.revision,
            )  # fmt: skip

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what the hub refuses into one line; it never has the token in it."""
        try:
            yield
        except CurateError:
            raise
        except Exception as error:
            cause = error.__cause__ if isinstance(error, RuntimeError) else None
            said = cause or error
            package = type(said).__module__.partition(".")[0]
            if package not in _CLIENTS and not isinstance(said, ValueError):
                raise
            response = getattr(said, "response", None)
            code = getattr(response, "status_code", None)
            lines = [line.strip() for line in str(said).splitlines() if line.strip()]
            why = " ".join(lines[:3]) or type(said).__name__
            again = "what has arrived is kept; the same command goes on"
            why = _REFUSED.get(code or 0) or f"{_without_token(why)}; {again}"
            raise CurateError(f"{self.name}: {why}") from None


def _without_token(text: str) -> str:
    from huggingface_hub import get_token

    token = get_token()
    return text.replace(token, "…") if token else text


@contextmanager
def _additions(items: Sequence[Item]) -> "Iterator[list[CommitOperationAdd]]":
    """What adds these files; those of a store are copied to this machine meanwhile."""
    from huggingface_hub import CommitOperationAdd

    with told_of_temporary(), TemporaryDirectory(prefix="curate-") as folder:
        found = []
        for k, one in enumerate(items):
            source: str | bytes | None = one.content
            if source is None and (source := files.local_path(one.url)) is None:
                source = os.path.join(folder, f"{k}")
                with files.open_read(one.url) as file, open(source, "wb") as copy:
                    shutil.copyfileobj(file, copy)
            found.append(CommitOperationAdd(path_in_repo=one.name, path_or_fileobj=source))
        yield found
