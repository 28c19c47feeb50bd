"""The suite, in an environment of its own below .cache; nothing is installed outside it, and no rights are needed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

# The last version that makes environments for Python 2.7.
VIRTUALENV = "virtualenv==20.21.1"
WANTED = Path(__file__).resolve().parent / "requirements.txt"
TIMEOUT_S = 600


class Missing(Exception):
    """Something that cannot be installed is not here; the text says what in one sentence."""


def suite(cache: Path) -> Path:
    """The program `wstest`, installed if it is not yet."""
    python = _python27()
    wanted = f"{VIRTUALENV}\n{python}\n{WANTED.read_text()}"
    stamp, program = cache / "installed.txt", cache / "suite/bin/wstest"
    if stamp.exists() and stamp.read_text() == wanted and program.exists():
        return program
    print("installing Autobahn's test suite", flush=True)
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir(parents=True)
    _carry_out([sys.executable, "-m", "venv", str(cache / "tools")])
    _carry_out([str(cache / "tools/bin/python"), "-m", "pip", "install", "--disable-pip-version-check", VIRTUALENV])
    _carry_out([str(cache / "tools/bin/virtualenv"), "--python", str(python), str(cache / "suite")])
    _carry_out([str(cache / "suite/bin/pip"), "install", "--disable-pip-version-check", "-r", str(WANTED)])
    stamp.write_text(wanted)
    return program


def _python27() -> Path:
    """A Python 2.7 that runs."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [os.environ.get("PYTHON27"), *sorted(pyenv.glob("versions/2.7*/bin/python2.7"), reverse=True)]
    candidates += [shutil.which(name) for name in ("python2.7", "python2")]
    for candidate in filter(None, candidates):
        try:
            told = subprocess.run(
                [str(candidate), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
                capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
            )
        except OSError:
            continue
        if told.returncode == 0 and told.stdout.strip() == "2.7":
            return Path(candidate)
    raise Missing("Python 2.7 is missing, which Autobahn's test suite runs on; install it (pyenv install 2.7.18), or name it in $PYTHON27")


def _carry_out(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except OSError as error:
        raise Missing(f"{command[0]} cannot be run: {error}") from error
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise Missing(f"{' '.join(command)} failed: {' '.join(last)}")
