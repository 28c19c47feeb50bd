"""Rivals and loads, read from their TOML files and checked."""

import dataclasses
import tomllib
from pathlib import Path

# Protocols that several rivals share, so that their files need not repeat the arguments.
SPEAKS = {
    "sub-pub": [
        "--protocol", "raw-json",
        "--subscribe-template", "sub {names}",
        "--publish-template", "pub {name} {payload}",
        "--ack-text", "ok",
    ],
}
VARIANT = "a variant for other loads"
KINDS = ("hold", "updates", "rejoin", "echo")


class Wrong(Exception):
    """A definition, or a choice of them, makes no sense; the text says why in one sentence."""


@dataclasses.dataclass
class Rival:
    """A server, and how to speak with it."""

    name: str
    title: str
    about: str
    serve: list[str]
    version: list[str]
    path: str = "/"
    scheme: str = "ws"
    echo: str | None = None
    arguments: list[str] = dataclasses.field(default_factory=list)
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    npm: str | None = None
    pypi: str | None = None
    debian: str | None = None
    cargo: str | None = None
    needs_flag: str | None = None
    configuration: str | None = None
    serve_all_cores: list[str] | None = None
    all_cores_reason: str | None = None
    only_for: list[str] | None = None
    not_for: dict[str, str] = dataclasses.field(default_factory=dict)
    places: dict[str, str] = dataclasses.field(default_factory=dict)

    def filled_environment(self, places: dict[str, str]) -> dict[str, str]:
        """Its environment, with what is known put in."""
        return dict(zip(self.environment, fill(list(self.environment.values()), places)))

    def reason_against(self, load: "Load") -> str | None:
        """Why this load is not for this server; None if it is."""
        if self.only_for is not None and load.id not in self.only_for:
            return VARIANT
        if load.rivals is not None and self.name not in load.rivals:
            return VARIANT
        if load.all_cores and self.serve_all_cores is None:
            return self.all_cores_reason or "no mode for several cores that shares topics"
        if load.kind == "echo" and self.echo is None:
            return self.not_for.get("echo", "has no echo")
        return self.not_for.get(load.id) or self.not_for.get(load.kind)


@dataclasses.dataclass
class Load:
    """What a server is put through."""

    id: str
    kind: str
    title: str
    arguments: dict[str, object]
    quick: dict[str, object] = dataclasses.field(default_factory=dict)
    all_cores: bool = False
    # The only servers it is for, by name.
    rivals: list[str] | None = None

    def words(self, quick: bool) -> list[str]:
        """Its arguments as the load generator takes them."""
        merged = {**self.arguments, **(self.quick if quick else {})}
        return [word for name, value in merged.items() for word in _option(name, value)]


def _option(name: str, value: object) -> list[str]:
    return [f"--{name}"] if value is True else [f"--{name}", str(value)]


def read_loads(path: Path) -> list[Load]:
    """All loads, in the order of the file."""
    loads = [_make(Load, table, path) for table in _toml(path).get("load", [])]
    for load in loads:
        if load.kind not in KINDS:
            raise Wrong(f"{path.name}: load {load.id}: kind must be one of {', '.join(KINDS)}")
    ids = [load.id for load in loads]
    if len(set(ids)) != len(ids):
        raise Wrong(f"{path.name}: two loads have the same id")
    return loads


def read_rivals(folder: Path) -> list[Rival]:
    """All rivals, one a file, fanfare first and then by name."""
    tables = {path.stem: (path, _toml(path)) for path in sorted(folder.glob("*.toml"))}
    rivals = []
    for name, (path, table) in tables.items():
        table = _with_base(table, path, tables)
        more = table.pop("serve_more", [])
        if more:
            table["serve"] = table["serve"] + more
            table.setdefault("needs_flag", more[0])
        if "speaks" in table:
            table["arguments"] = SPEAKS[table.pop("speaks")] + table.get("arguments", [])
        rivals.append(_make(Rival, {"name": name, **table}, path))
    return sorted(rivals, key=lambda rival: (not rival.name.startswith("fanfare"), rival.name != "floor", rival.name))


def _with_base(table: dict, path: Path, tables: dict) -> dict:
    """The table, and whatever it does not say itself from the server that it names, and from that one's."""
    table = dict(table)
    chain = [path.stem]
    while "same_server_as" in table:
        other = table.pop("same_server_as")
        if other not in tables:
            raise Wrong(f"{path.name}: there is no {other}.toml")
        if other in chain:
            raise Wrong(f"{path.name}: {other} is the same server as itself")
        chain.append(other)
        base = {key: value for key, value in tables[other][1].items() if key not in ("path", "arguments", "speaks")}
        table = {**base, **table}
    return table


def choose(wanted: str | None, things: list, key, what: str) -> list:
    """Those that a list with commas names, in the order of `things`; a family is named by how its members begin."""
    if wanted is None:
        return things
    names = [name for name in wanted.split(",") if name]
    for name in names:
        if not any(_is_named(name, key(thing)) for thing in things):
            raise Wrong(f"there is no {what} {name!r}; --list shows all")
    return [thing for thing in things if any(_is_named(name, key(thing)) for name in names)]


def _is_named(name: str, key: str) -> bool:
    """`3` names 3a and 3b; `fanfare` names fanfare alone."""
    return key == name or (name.isdigit() and key.rstrip("abcdefghijklmnopqrstuvwxyz") == name)


def _toml(path: Path) -> dict:
    try:
        return tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise Wrong(f"{path.name}: {error}") from error


def _make(kind: type, table: dict, path: Path):
    known = {field.name for field in dataclasses.fields(kind)}
    unknown = sorted(set(table) - known)
    if unknown:
        raise Wrong(f"{path.name}: unknown key {unknown[0]!r}")
    try:
        return kind(**table)
    except TypeError as error:
        raise Wrong(f"{path.name}: {error}") from error


def fill(words: list[str], places: dict[str, str]) -> list[str]:
    """Puts what is known in the places of a command; other braces stay as they are."""
    filled = []
    for word in words:
        for name, value in places.items():
            word = word.replace("{" + name + "}", value)
        filled.append(word)
    return filled
