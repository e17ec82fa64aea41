"""Make multilingual.jsonl.gz: ``python build_multilingual.py node_modules/emojibase-data``.

See NOTICE. The file holds a line a caption: what an emoji is called in a language, and its keywords.
"""

import gzip
import json
import sys
from pathlib import Path

LANGUAGES = ["bn", "da", "de", "en", "es", "et", "fi", "fr", "hi", "hu", "it", "ja", "ko", "lt", "ms",
             "nb", "nl", "pl", "pt", "ru", "sv", "th", "uk", "vi", "zh"]  # fmt: skip
EVERY = 6  # so that the file stays small
COMPONENTS = 2  # the group of skin tones and hair styles


def main(source: Path, target: Path) -> None:
    """Write `target`; the same bytes whenever it runs on the same release."""
    lines = []
    for language in LANGUAGES:
        emojis = json.loads((source / language / "data.json").read_text(encoding="utf-8"))
        named = [e for e in emojis if e.get("group", COMPONENTS) != COMPONENTS and e.get("tags")]
        for emoji in sorted(named, key=lambda e: str(e["hexcode"]))[::EVERY]:
            caption = ", ".join([emoji["label"], *emoji["tags"]])
            url = f"https://emoji.example/{language}/{emoji['hexcode']}.png"
            lines.append(json.dumps({"url": url, "caption": caption}, ensure_ascii=False))
    content = "".join(f"{line}\n" for line in lines).encode()
    target.write_bytes(gzip.compress(content, 9, mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).with_name("multilingual.jsonl.gz"))
