"""The figures, read from their TOML file and checked."""

import dataclasses
import tomllib
from pathlib import Path


class Wrong(Exception):
    """A definition, or a choice of them, makes no sense; the text says why in one sentence."""


@dataclasses.dataclass
class Variant:
    """One way to load the server."""

    name: str
    arguments: dict[str, object]


@dataclasses.dataclass
class Figure:
    """Something to be measured, and what is hoped for."""

    id: str
    title: str
    aim: str
    rounds: int
    server: list[str]
    arguments: dict[str, object]
    quick: dict[str, object]
    variant: list[dict]

    @property
    def variants(self) -> list[Variant]:
        """In the order in which they are measured."""
        return [Variant(**table) for table in self.variant]

    def words(self, variant: Variant, quick: bool) -> list[str]:
        """The arguments as the load generator takes them."""
        merged = {**self.arguments, **variant.arguments, **(self.quick if quick else {})}
        return [word for name, value in merged.items() for word in _option(name, value)]


def _option(name: str, value: object) -> list[str]:
    return [f"--{name}"] if value is True else [f"--{name}", str(value)]


def read(path: Path) -> list[Figure]:
    """All figures, in the order of the file."""
    try:
        tables = tomllib.loads(path.read_text())["figure"]
        figures = [Figure(**table) for table in tables]
        for figure in figures:
            if not figure.variants:
                raise Wrong(f"{path.name}: figure {figure.id} has no variant")
    except (KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise Wrong(f"{path.name}: {error}") from error
    return figures


def choose(wanted: str | None, figures: list[Figure]) -> list[Figure]:
    """Those that a list with commas names."""
    if wanted is None:
        return figures
    ids = wanted.split(",")
    for name in ids:
        if name not in [figure.id for figure in figures]:
            raise Wrong(f"no figure {name!r}; there are {', '.join(figure.id for figure in figures)}")
    return [figure for figure in figures if figure.id in ids]
