"""One line of the report, and the judgement of a sysctl against what it should be at least."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Callable, Dict, Optional, Sequence, Tuple

from .host import Host, Unreadable

OK = "OK"
LOW = "LOW"
BLOCKED = "BLOCKED"
NA = "N/A"


@dataclass(frozen=True)
class Setting:
    """A sysctl as it is and as it should be; the same where nothing is to be done."""

    key: str
    current: str
    wanted: str


@dataclass(frozen=True)
class Check:
    """A finding. An OK with a fix is advice: it would help, and nothing depends on it."""

    name: str
    status: str
    value: str = ""
    wanted: str = ""
    reason: str = ""
    fix: str = ""
    # What apply and persist write; not a part of the report.
    setting: Optional[Setting] = None

    def as_json(self) -> Dict[str, str]:
        """The stable six fields, each a string."""
        fields = asdict(self)
        del fields["setting"]
        return fields

    def line(self) -> str:
        """The same for people."""
        value = self.value or "-"
        wanted = f", wanted {self.wanted}" if self.wanted else ""
        label = "advice" if self.status == OK else "fix"
        fix = f"; {label}: {self.fix}" if self.fix else ""
        return f"{self.status:<8} {self.name}: {value}{wanted}; {self.reason}{fix}"


Numbers = Tuple[int, ...]


def at_least(current: Numbers, wanted: Numbers) -> Numbers:
    """Part by part the greater: nothing is ever lowered."""
    return tuple(max(pair) for pair in zip(current, wanted))


def widened(current: Numbers, wanted: Numbers) -> Numbers:
    """A range that covers both."""
    return (min(current[0], wanted[0]), max(current[1], wanted[1]))


def judge(
    host: Host,
    key: str,
    wanted: Sequence[int],
    reason: str,
    merge: Callable[[Numbers, Numbers], Numbers] = at_least,
    describe: Callable[[Numbers], str] = lambda numbers: " ".join(map(str, numbers)),
) -> Check:
    """Compares a sysctl with what it should be, merged with what it is."""
    current = host.sysctl_numbers(key)
    if len(current) != len(wanted):
        raise Unreadable(f"{key} holds {len(current)} numbers instead of {len(wanted)}")
    better = merge(current, tuple(wanted))
    setting = Setting(key, " ".join(map(str, current)), " ".join(map(str, better)))
    status, fix = OK, ""
    if better != current:
        fix = sysctl_command(key, setting.wanted)
        refusal = host.read_only_because(key)
        status = BLOCKED if refusal else LOW
        if refusal:
            reason, fix = f"{reason}; {refusal}", f"on the host itself: {fix}"
    return Check(key, status, describe(current), describe(tuple(wanted)), reason, fix, setting)


def sysctl_command(key: str, value: str) -> str:
    """The command that sets a sysctl by hand."""
    return f"sysctl -w {key}='{value}'" if " " in value else f"sysctl -w {key}={value}"


def mebibytes(size: int) -> str:
    """A size for people: 512 MiB, 3.6 GiB."""
    if size >= 1 << 30:
        return f"{size / (1 << 30):.1f} GiB"
    return f"{size / (1 << 20):.0f} MiB"
