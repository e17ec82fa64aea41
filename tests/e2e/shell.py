"""Commands in a shell whose `curate` is answered by the process of the test.

That has imported already what a command takes seconds to import. All else of a block is the shell's:
other programs, pipes, and what an exit status stops.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.users.runs import curate

_CLIENT = f"""#!{sys.executable} -IS
import json, os, socket, sys
asked = socket.socket(socket.AF_UNIX)
asked.connect(os.path.join(os.path.dirname(sys.argv[0]), "answers"))
asked.sendall(json.dumps([os.getcwd(), *sys.argv[1:]]).encode() + b"\\n")
status, said, error = json.load(asked.makefile())
sys.stdout.write(said)
sys.stderr.write(error)
sys.exit(status)
"""


def bash(commands: str, folder: Path) -> str:
    """What `commands` print, in `folder`; none may fail."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with (
        tempfile.TemporaryDirectory() as place, socket.socket(socket.AF_UNIX) as answers,
        tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as error,
    ):  # fmt: skip
        client = Path(place) / "curate"
        client.write_text(_CLIENT)
        client.chmod(0o755)
        answers.bind(f"{place}/answers")
        answers.listen()
        answers.settimeout(0.02)
        shell = subprocess.Popen(
            ["bash", "-euc", commands], cwd=folder, stdout=said, stderr=error, text=True,
            env={**os.environ, "PATH": f"{place}:{path}"},
        )  # fmt: skip
        try:
            while shell.poll() is None:
                _answer(answers)
        finally:
            shell.kill()
            shell.wait()
        said.seek(0)
        error.seek(0)
        assert shell.returncode == 0, error.read()
        return said.read()


def _answer(answers: socket.socket) -> None:
    """Run the command that is asked for next, if one comes."""
    try:
        asked, _ = answers.accept()
    except TimeoutError:
        return
    with asked, asked.makefile("rw") as stream:
        cwd, *arguments = json.loads(stream.readline())
        done = curate(*arguments, cwd=Path(cwd))
        json.dump([done.returncode, done.stdout, done.stderr], stream)
