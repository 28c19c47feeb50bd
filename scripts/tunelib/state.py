"""What was there before: the values and files that revert brings back."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional

from .host import Host, TuneError, why

DEFAULT_FILE = "/var/lib/fanfare/tune.json"
VERSION = 1


@dataclass
class State:
    """Originals. What is remembered once is never overwritten: the first value is the original."""

    file: Path
    # Sysctl -> its value.
    sysctls: Dict[str, str] = field(default_factory=dict)
    # File -> its text; None if it was not there.
    files: Dict[str, Optional[str]] = field(default_factory=dict)
    # Folders that were made, outermost first.
    folders: List[str] = field(default_factory=list)

    @staticmethod
    def load(file: Path) -> State:
        """The state in `file`, or an empty one if there is no such file."""
        try:
            return State._parse(file, json.loads(file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return State(file)
        except OSError as error:
            raise TuneError(f"the state file {file} cannot be read: {why(error)}") from None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise TuneError(f"{file} is no state file of tune, and is left as it is") from None

    @staticmethod
    def _parse(file: Path, saved: Dict[str, Any]) -> State:
        sysctls, files, folders = saved["sysctls"], saved["files"], saved["folders"]
        strings = [*sysctls, *sysctls.values(), *files, *filter(None, files.values()), *folders]
        if saved["version"] != VERSION or not all(isinstance(text, str) for text in strings):
            raise ValueError
        return State(file, sysctls, files, folders)

    @property
    def is_empty(self) -> bool:
        return not self.sysctls and not self.files

    def remember_sysctl(self, key: str, value: str) -> None:
        self.sysctls.setdefault(key, value)

    def remember_file(self, host: Host, name: str) -> None:
        if name not in self.files:
            self.files[name] = host.file_text(name)

    def save(self, host: Host) -> None:
        """Writes it, or removes the file when nothing is left to bring back.

        Called before anything is changed, and whole or not at all: a crash must not lose originals.
        """
        try:
            if self.is_empty:
                self._remove()
                return
            self.folders += [str(path) for path in host.make_parents(self.file)]
            fields = asdict(self)
            del fields["file"]
            draft = self.file.with_name(self.file.name + ".new")
            with open(draft, "w", encoding="utf-8") as stream:
                json.dump({"version": VERSION, **fields}, stream, indent=2)
                stream.write("\n")
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(draft, self.file)
        except OSError as error:
            hint = "; run as root" if isinstance(error, PermissionError) else ""
            raise TuneError(
                f"the state file {self.file} cannot be written: {why(error)}{hint}"
            ) from None

    def _remove(self) -> None:
        self.file.unlink(missing_ok=True)
        for folder in reversed(self.folders):
            try:
                os.rmdir(folder)
            except OSError:
                # Somebody else put something into it: then it is theirs as well.
                pass
