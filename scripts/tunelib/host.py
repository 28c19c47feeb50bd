"""The host as files: /proc, /sys and /etc, perhaps below a root folder that a test has made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import List, Optional, Tuple

# Bytes that are not UTF-8 survive being read and written.
EXACT = "surrogateescape"


class TuneError(Exception):
    """What the operator must know, as one sentence."""


class NotApplicable(Exception):
    """Why a check says nothing about this host."""


class Unreadable(NotApplicable):
    """A file is missing, forbidden, or does not hold what it should."""


def why(error: OSError) -> str:
    """The reason alone: "permission denied", without number and file name."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


class Host:
    """Reads and writes files by the paths they have on a real host."""

    def __init__(self, root: str = "/") -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise TuneError(f"--root {root} is no folder")

    def path(self, name: str) -> Path:
        """Where the file that a real host calls `name` is."""
        return self.root / name.lstrip("/")

    def text(self, name: str) -> str:
        """A file's text without the space around it."""
        try:
            return self.path(name).read_text(encoding="utf-8", errors="replace").strip()
        except FileNotFoundError:
            raise Unreadable(f"there is no {name} here") from None
        except OSError as error:
            raise Unreadable(f"{name} cannot be read: {why(error)}") from None

    def file_text(self, name: str) -> Optional[str]:
        """A configuration file, character by character; None if it is not there."""
        try:
            with open(self.path(name), encoding="utf-8", errors=EXACT, newline="") as stream:
                return stream.read()
        except FileNotFoundError:
            return None

    def write_file(self, name: str, text: str) -> None:
        """The opposite of `file_text`, for a file that is to be there."""
        with open(self.path(name), "w", encoding="utf-8", errors=EXACT, newline="") as stream:
            stream.write(text)

    def sysctl(self, key: str) -> str:
        """A sysctl's value, its parts separated by one space each."""
        return " ".join(self.text(sysctl_file(key)).split())

    def sysctl_numbers(self, key: str) -> Tuple[int, ...]:
        """A sysctl that is one or several whole numbers."""
        value = self.sysctl(key)
        try:
            numbers = tuple(int(part) for part in value.split())
        except ValueError:
            numbers = ()
        if not numbers:
            raise Unreadable(f"{sysctl_file(key)} holds '{value[:40]}', which is not a number")
        return numbers

    def sysctl_number(self, key: str) -> int:
        """A sysctl that is one whole number."""
        return self.sysctl_numbers(key)[0]

    def read_only_because(self, key: str) -> str:
        """Why nobody, not even root, can write this sysctl; empty if somebody can."""
        path = self.path(sysctl_file(key))
        try:
            if os.statvfs(path).f_flag & os.ST_RDONLY:
                return "/proc/sys is mounted read-only here, as in many containers"
            if path.stat().st_mode & 0o222 == 0:
                return "the kernel lets only the host's own network namespace write it"
        except OSError as error:
            return f"it cannot be looked at: {why(error)}"
        return ""

    def write_sysctl(self, key: str, value: str) -> str:
        """Writes, reads again, and returns why the value does not stand; empty if it does."""
        refusal = self.read_only_because(key)
        if refusal:
            return refusal
        try:
            self.path(sysctl_file(key)).write_text(value + "\n", encoding="utf-8")
        except PermissionError as error:
            return f"{why(error)}; root may be allowed to"
        except OSError as error:
            return f"the kernel refused {value}: {why(error)}"
        stands = self.sysctl(key)
        return "" if stands == " ".join(value.split()) else f"the kernel made it {stands}"

    def make_parents(self, path: Path) -> List[Path]:
        """Makes the folders above `path`; returns those that were not there, outermost first."""
        missing = [folder for folder in reversed(path.parents) if not folder.exists()]
        for folder in missing:
            folder.mkdir()
        return missing


def sysctl_file(key: str) -> str:
    """net.ipv4.tcp_mem is /proc/sys/net/ipv4/tcp_mem."""
    return "/proc/sys/" + key.replace(".", "/")
