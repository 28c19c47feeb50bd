"""The figures, read from their TOML file and checked."""

import dataclasses
import tomllib
from pathlib import Path

from slowlib.definitions import Variant, Wrong, choose

__all__ = ["Figure", "Variant", "Wrong", "choose", "read"]

TOOLS = ("measure", "run")


@dataclasses.dataclass
class Figure:
    """Something to be measured, and what is hoped for."""

    id: str
    title: str
    aim: str
    rounds: int
    tool: str
    server: list[str]
    arguments: dict[str, object]
    quick: dict[str, object]
    variant: list[dict]
    deadline_s: int = 0
    quick_deadline_s: int = 0
    half_open: dict[str, object] = dataclasses.field(default_factory=dict)
    quick_half_open: dict[str, object] = dataclasses.field(default_factory=dict)

    @property
    def variants(self) -> list[Variant]:
        """In the order in which they are measured."""
        return [Variant(**table) for table in self.variant]

    def words(self, variant: Variant, quick: bool) -> list[str]:
        """The arguments as the load generator takes them."""
        return _options({**self.arguments, **variant.arguments, **(self.quick if quick else {})})

    def half_open_words(self, quick: bool) -> list[str]:
        """The same of the requests that never end."""
        return _options({**self.half_open, **(self.quick_half_open if quick else {})})

    def deadline(self, quick: bool) -> int:
        """Seconds that the server gives a head or a body; 0 for its own."""
        return self.quick_deadline_s if quick else self.deadline_s

    def serve_words(self, quick: bool) -> list[str]:
        """The arguments as the server takes them."""
        deadline = self.deadline(quick)
        limits = ["--handshake-timeout", f"{deadline}s", "--body-timeout", f"{deadline}s"] if deadline else []
        return [*self.server, *limits]


def _options(values: dict[str, object]) -> list[str]:
    return [word for name, value in values.items() for word in ([f"--{name}"] if value is True else [f"--{name}", str(value)])]


def read(path: Path) -> list[Figure]:
    """All figures, in the order of the file."""
    try:
        figures = [Figure(**table) for table in tomllib.loads(path.read_text())["figure"]]
        for figure in figures:
            if not figure.variants:
                raise Wrong(f"{path.name}: figure {figure.id} has no variant")
            if figure.tool not in TOOLS:
                raise Wrong(f"{path.name}: figure {figure.id}: {figure.tool} is neither of {', '.join(TOOLS)}")
    except (KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise Wrong(f"{path.name}: {error}") from error
    return figures
