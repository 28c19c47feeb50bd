"""Rivals from package registries into a folder of their own; nothing is installed outside it.

What is wanted is committed: versions and checksums of npm's packages in bench-results/rivals/npm/package-lock.json.
"""

import shutil
import subprocess
from pathlib import Path

TIMEOUT_S = 600


class Missing(Exception):
    """The rival cannot be had here; the text says why."""


class Shop:
    """Installs what rivals need, each kind once."""

    def __init__(self, cache: Path, rivals: Path):
        self._cache = cache
        self._rivals = rivals
        self._outcomes: dict[str, dict[str, str] | Missing] = {}

    def places(self, rival) -> dict[str, str]:
        """Where things are, by the name that commands have for them; raises Missing."""
        places = {"here": str(self._rivals)}
        for kind in ("npm",):
            if getattr(rival, kind):
                places |= self._once(kind)
        return places

    def _once(self, kind: str) -> dict[str, str]:
        if kind not in self._outcomes:
            try:
                self._outcomes[kind] = {"npm": self._npm}[kind]()
            except Missing as reason:
                self._outcomes[kind] = reason
        outcome = self._outcomes[kind]
        if isinstance(outcome, Missing):
            raise outcome
        return outcome

    def _npm(self) -> dict[str, str]:
        for tool in ("node", "npm"):
            if shutil.which(tool) is None:
                raise Missing(f"{tool} is not installed")
        folder = self._cache / "npm"
        wanted = (self._rivals / "npm/package-lock.json").read_text()
        done = folder / "installed.json"
        if not done.exists() or done.read_text() != wanted:
            folder.mkdir(parents=True, exist_ok=True)
            for name in ("package.json", "package-lock.json"):
                shutil.copy(self._rivals / "npm" / name, folder / name)
            # Scripts of packages are not needed: bun's only moves its binary, bufferutil brings a built one.
            carry_out(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
            done.write_text(wanted)
        buns = sorted(folder.glob("node_modules/@oven/bun-*/bin/bun"))
        return {"npm": str(folder), "bun": str(buns[0]) if buns else "bun"}


def carry_out(command: list[str], folder: Path) -> str:
    """Runs a command to its end; returns what it prints. Raises Missing with the end of what it complains about."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise Missing(f"{' '.join(command[:2])} failed: {lines[-1] if lines else done.returncode}")
    return done.stdout
