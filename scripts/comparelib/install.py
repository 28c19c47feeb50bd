"""Rivals from package registries into a folder of their own; nothing is installed outside it, and no rights are needed.

What is wanted is committed beside the rivals: versions and checksums of npm's packages and of crates in their lock files,
versions of PyPI's in pypi/requirements.txt. Debian's packages are the ones its signed lists name today.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

TIMEOUT_S = 900


class Missing(Exception):
    """The rival cannot be had here; the text says why."""


class Shop:
    """Installs what rivals need, each thing once."""

    def __init__(self, cache: Path, rivals: Path):
        self._cache = cache
        self._rivals = rivals
        self._outcomes: dict[tuple[str, str], dict[str, str] | Missing] = {}

    def places(self, rival) -> dict[str, str]:
        """Where things are, by the name that commands have for them; raises Missing."""
        places = {"here": str(self._rivals)}
        for source, install in (("npm", self._npm), ("pypi", self._pypi), ("debian", self._debian), ("cargo", self._cargo)):
            wanted = getattr(rival, source)
            if wanted:
                places |= self._once(source, wanted, install)
        return places

    def certificate(self, dev_certs: Path) -> dict[str, str]:
        """An authority, and a certificate of this host's for servers that speak TLS, made anew for each run; raises Missing."""

        def make(_wanted: str) -> dict[str, str]:
            need("openssl")
            folder = self._cache / "certificates"
            carry_out([str(dev_certs), "--dir", str(folder), "localhost"], self._rivals)
            return {"ca": str(folder / "ca.pem"), "cert": str(folder / "localhost.pem"), "key": str(folder / "localhost.key")}

        return self._once("certificates", "", make)

    def _once(self, source: str, wanted: str, install) -> dict[str, str]:
        # All of npm's stand in one lock file, and all of PyPI's in one list.
        key = (source, "" if source in ("npm", "pypi") else wanted)
        if key not in self._outcomes:
            try:
                self._outcomes[key] = install(wanted)
            except Missing as reason:
                self._outcomes[key] = reason
        outcome = self._outcomes[key]
        if isinstance(outcome, Missing):
            raise outcome
        return outcome

    def _npm(self, _wanted: str) -> dict[str, str]:
        need("node", "npm")
        folder = self._cache / "npm"

        def install() -> None:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(self._rivals / "npm" / name, folder / name)
            # Scripts of packages are not needed: bun's only moves its binary, bufferutil brings a built one.
            carry_out(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)

        once(folder, (self._rivals / "npm/package-lock.json").read_text(), install)
        buns = sorted(folder.glob("node_modules/@oven/bun-*/bin/bun"))
        return {"npm": str(folder), "bun": str(buns[0]) if buns else "bun"}

    def _pypi(self, _wanted: str) -> dict[str, str]:
        folder = self._cache / "pypi"
        wanted = self._rivals / "pypi/requirements.txt"
        scripts = folder / "venv/bin"

        def install() -> None:
            carry_out([sys.executable, "-m", "venv", "--clear", "venv"], folder)
            carry_out([str(scripts / "pip"), "install", "--disable-pip-version-check", "-r", str(wanted)], folder)

        once(folder, wanted.read_text() + sys.version, install)
        return {"python": str(scripts / "python"), "scripts": str(scripts)}

    def _debian(self, wanted: str) -> dict[str, str]:
        need("apt-get", "dpkg-deb")
        names = wanted.split()
        folder = self._cache / "debian" / names[0]
        root = folder / "root"

        def install() -> None:
            apt = self._apt()
            told = carry_out([*apt, "install", "--simulate", "--no-install-recommends", *names], folder)
            # What the host has already is not unpacked again, but for what was asked for itself.
            new = [line.split()[1] for line in told.splitlines() if line.startswith("Inst ")]
            for old in folder.glob("*.deb"):
                old.unlink()
            carry_out([*apt, "download", *dict.fromkeys(names + new)], folder)
            for package in sorted(folder.glob("*.deb")):
                carry_out(["dpkg-deb", "--extract", str(package), str(root)], folder)

        once(folder, wanted, install)
        libraries = [str(path) for path in (*root.glob("usr/lib/*-linux-gnu*"), *root.glob("lib/*-linux-gnu*"))]
        packages = [package.stem for package in sorted(folder.glob("*.deb"))]
        return {"debian": str(root), "libraries": ":".join(libraries), "packages": " ".join(packages)}

    def _apt(self) -> list[str]:
        """apt-get with lists and caches of our own: the host's may be absent, old, or not ours to renew."""
        if ("apt", "") not in self._outcomes:
            folder = self._cache / "debian/apt"
            (folder / "lists/partial").mkdir(parents=True, exist_ok=True)
            options = {
                "Dir::State::lists": folder / "lists", "Dir::Cache": folder, "Dir::Cache::archives": folder / "archives/",
                "APT::Sandbox::User": "", "Debug::NoLocking": "1",
            }
            command = ["apt-get", "--quiet", *(f"--option={name}={value}" for name, value in options.items())]
            carry_out([*command, "update"], folder)
            self._outcomes["apt", ""] = {"command": "\n".join(command)}
        return self._outcomes["apt", ""]["command"].split("\n")

    def _cargo(self, wanted: str) -> dict[str, str]:
        need("cargo")
        target = self._cache / "cargo" / wanted
        manifest = self._rivals / wanted / "Cargo.toml"
        carry_out(["cargo", "build", "--release", "--locked", "--manifest-path", str(manifest), "--target-dir", str(target)], self._rivals)
        return {"cargo": str(target / "release")}


def need(*tools: str) -> None:
    """Raises Missing if one of them is not there."""
    for tool in tools:
        if shutil.which(tool) is None:
            raise Missing(f"{tool} is not installed")


def once(folder: Path, wanted: str, install) -> None:
    """Installs into a folder unless just this was installed there before; what is half done is done again."""
    done = folder / "installed"
    if done.exists() and done.read_text() == wanted:
        return
    folder.mkdir(parents=True, exist_ok=True)
    done.unlink(missing_ok=True)
    install()
    done.write_text(wanted)


def version_of(command: list[str], environment: dict[str, str]) -> str:
    """The first line that a program says about itself; where it says it, and how it ends, differs. Raises Missing."""
    done = _run(command, Path.cwd(), {**os.environ, **environment})
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    if not lines:
        raise Missing(f"{command[0]} does not tell its version")
    return lines[0].strip()


def carry_out(command: list[str], folder: Path) -> str:
    """Runs a command to its end; returns what it prints. Raises Missing with the end of what it complains about."""
    done = _run(command, folder, None)
    if done.returncode != 0:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise Missing(f"{' '.join(command[:2])} failed: {lines[-1] if lines else done.returncode}")
    return done.stdout


def _run(command: list[str], folder: Path, environment: dict[str, str] | None) -> subprocess.CompletedProcess:
    try:
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{command[0]}: {error}") from error
