"""Writes pdq.csv: hashes that the reference gives for the demo's pictures, scaled to 512 x 512.

pip install pdqhash==0.2.8      # builds Meta's C++ sources: needs a compiler, so tests do without
python tests/data/build_pdq.py
"""

from pathlib import Path

import cv2
import numpy as np

HERE = Path(__file__).parent
PICTURES = HERE.parents[1] / "pipelines/demo/pool/images"


def main() -> None:
    """Every seventh picture of the pool."""
    import pdqhash

    lines = []
    for path in sorted(PICTURES.iterdir())[::7]:
        pixels = cv2.imread(str(path))
        scaled = cv2.resize(pixels, (512, 512), interpolation=cv2.INTER_LINEAR)
        bits, quality = pdqhash.compute(np.ascontiguousarray(scaled[:, :, ::-1]))
        digits = np.packbits(bits.astype(np.uint8)).tobytes().hex()
        lines.append(f"{path.name},{digits},{quality}")
    (HERE / "pdq.csv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
