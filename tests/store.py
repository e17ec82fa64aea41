"""An object store in this process's memory, ``counted://``, that tells which requests were made to it.

It is to fsspec what s3fs and gcsfs are: a file that is opened asks for its size, then for ranges, and
becomes visible whole when it is closed; folders are what names have in common. Nothing is cached.
"""

import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import fsspec
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

PROTOCOL = "counted"
Request = tuple[str, str]
"""What is done (info, list, read, range, write, remove), and to which path."""


class _File(AbstractBufferedFile):
    """An object that is read by ranges, or uploaded in one request."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        return bytes(self.fs.cat_file(self.path, start=start, end=end))

    def _initiate_upload(self) -> None:
        self._pieces: list[bytes] = []

    def _upload_chunk(self, final: bool = False) -> bool:
        self._pieces.append(self.buffer.getvalue())
        if final:
            self.fs.pipe_file(self.path, b"".join(self._pieces))
        return True

    def discard(self) -> None:
        """Nothing was uploaded."""


class CountedStore(AbstractFileSystem):
    """What stands in it, and the requests so far; those of all stores of this process."""

    protocol = PROTOCOL
    objects: ClassVar[dict[str, bytes]] = {}
    requests: ClassVar[Counter[Request]] = Counter()

    def _open(self, path: str, mode: str = "rb", **options: Any) -> _File:
        for name in ("block_size", "autocommit"):
            options.pop(name, None)
        return _File(self, path, mode, **options)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Size of an object, or that there is a folder."""
        path = self._strip_protocol(path)
        self.requests["info", path] += 1
        if path in self.objects:
            return {"name": path, "size": len(self.objects[path]), "type": "file"}
        self.requests["list", path] += 1
        if any(name.startswith(f"{path}/") for name in [*self.objects]):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """What stands directly in a folder."""
        path = self._strip_protocol(path)
        self.requests["list", path] += 1
        found: dict[str, dict[str, Any]] = {}
        for name, content in [*self.objects.items()]:
            if name.startswith(f"{path}/"):
                first, *more = name[len(path) + 1 :].split("/")
                one = f"{path}/{first}"
                kind = "directory" if more else "file"
                told = {} if more else {"ETag": f"{zlib.crc32(content):x}"}
                found[one] = {
                    "name": one,
                    "size": 0 if more else len(content),
                    "type": kind,
                    **told,
                }
        if not found and path not in self.objects:
            raise FileNotFoundError(path)
        return [*found.values()] if detail else [*found]

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: Any
    ) -> bytes:
        """The bytes of an object, or some of them."""
        path = self._strip_protocol(path)
        self.requests["read" if start is None and end is None else "range", path] += 1
        if path not in self.objects:
            raise FileNotFoundError(path)
        return self.objects[path][start:end]

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        """Put an object."""
        path = self._strip_protocol(path)
        self.requests["write", path] += 1
        self.objects[path] = bytes(value)

    def rm_file(self, path: str) -> None:
        """Remove an object."""
        path = self._strip_protocol(path)
        self.requests["remove", path] += 1
        self.objects.pop(path, None)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Remove objects, a thousand in a request."""
        found = self.expand_path(path, recursive=recursive, maxdepth=maxdepth)
        self.requests["remove", str(path)] += 1
        for name in found:
            self.objects.pop(name, None)


@contextmanager
def counted_store() -> Iterator[Counter[Request]]:
    """An empty store while the block runs, and the requests to it."""
    CountedStore.objects.clear()
    CountedStore.requests.clear()
    fsspec.register_implementation(PROTOCOL, CountedStore, clobber=True)
    yield CountedStore.requests
    CountedStore.objects.clear()
