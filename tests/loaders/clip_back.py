"""The back end of clip-retrieval: `python -m tests.loaders.clip_back FOLDER PORT`.

It serves an index folder with the shipped model, on loopback alone (the program itself listens on all
addresses).
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import open_clip

from curate.files import shipped

SCORER = shipped("pipelines/demo/scorer")


def _serve(app: Any, *, port: int, **_: Any) -> None:
    serving = import_module("werkzeug.serving")  # which is there with the program alone
    serving.make_server("127.0.0.1", port, app).serve_forever()


if __name__ == "__main__":
    folder, port = sys.argv[1:]
    open_clip.add_model_config(str(SCORER / "curate-mini.json"))
    setattr(import_module("flask").Flask, "run", _serve)  # noqa: B010 - of another signature
    clip_back = import_module("clip_retrieval.clip_back").clip_back

    listed = Path(folder).with_suffix(".json")
    listed.write_text(json.dumps({"mine": folder}))
    clip_back(
        indices_paths=str(listed), port=int(port), use_jit=False, enable_mclip_option=False,
        clip_model=f"open_clip:curate-mini/{SCORER / 'curate-mini.safetensors'}",
        provide_aesthetic_embeddings=False, enable_faiss_memory_mapping=True,
        columns_to_return=["uid", "url", "caption", "verdict"],
    )  # fmt: skip
