"""What hosts of a test run beside `curate`: `python -m tests.engines.remote WHAT …`."""

import hashlib
import json
import sys
import urllib.request
from http.server import ThreadingHTTPServer

from curate import files
from curate.commands import demo
from curate.files import shipped
from tests.engines.prism import is_data

BUCKET = "bucket"


def bucket(*_: str) -> None:
    """Make the bucket."""
    import boto3

    boto3.client("s3").create_bucket(Bucket=BUCKET)


def pictures(port: str) -> None:
    """Serve the demo's pictures on all interfaces."""

    class Pictures(demo._Pictures):
        images = shipped("pipelines/demo/pool/images")

    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer(("0.0.0.0", int(port)), Pictures).serve_forever()


def put(path: str, url: str) -> None:
    """Copy a file of this machine into the store."""
    with open(path, "rb") as file:
        files.write_bytes(url, file.read())


def digests(*runs: str) -> None:
    """Print those of the files of runs, as JSON."""
    import s3fs

    store = s3fs.S3FileSystem()
    found = []
    for run in runs:
        names = [x.removeprefix(run.removeprefix("s3://") + "/") for x in store.find(run)]
        found.append(
            {
                name: hashlib.sha256(store.cat_file(f"{run}/{name}")).hexdigest()
                for name in names
                if is_data(name)
            }
        )
    print(json.dumps(found))


def get(url: str) -> None:
    """Print what a URL answers."""
    with urllib.request.urlopen(url) as answer:
        print(answer.read().decode())


if __name__ == "__main__":
    {f.__name__: f for f in (bucket, pictures, put, digests, get)}[sys.argv[1]](*sys.argv[2:])
