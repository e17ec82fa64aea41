"""What a command that only tells of itself does not wait for."""

import subprocess
import sys

SLOW = ("apache_beam", "cv2", "llvmlite", "numba", "open_clip", "pyarrow.compute", "scipy", "torch")


def test_help_waits_for_no_engine_model_or_compiler() -> None:
    code = (
        "import sys\n"
        "from curate.cli import app\n"
        "app(['--help'], standalone_mode=False)\n"
        f"print('LOADED', [name for name in {SLOW} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "warm" in done.stdout
    assert done.stdout.splitlines()[-1] == "LOADED []"
