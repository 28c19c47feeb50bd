"""persist: the files that set everything again at the next boot."""

from __future__ import annotations

from typing import Dict, List, Sequence

from .change import Show
from .check import BLOCKED, OK, Check, Setting
from .checks import selected
from .host import Host, why
from .need import Need
from .state import State

SYSCTL_FILE = "/etc/sysctl.d/90-fanfare.conf"
UNIT_FILE = "/etc/systemd/system/fanfare.service.d/limits.conf"


def persist(
    host: Host,
    need: Need,
    checks: Sequence[Check],
    only: Sequence[str],
    state: State,
    dry_run: bool,
    show: Show,
) -> List[Check]:
    """Writes the files that are not there as they should be; returns how each went."""
    texts = contents(need, checks, only)
    news = {name: text for name, text in texts.items() if host.file_text(name) != text}
    for name, text in texts.items():
        show(f"{name}:\n\n{text}" if name in news else f"{name} is as it should be")
    right = [Check(name, OK, reason="as it should be") for name in texts if name not in news]
    if dry_run or not news:
        return right + [Check(name, OK, reason="would be written") for name in news]
    for name in news:
        state.remember_file(host, name)
    state.save(host)
    written = [_write(host, name, text, state) for name, text in news.items()]
    # Now with the folders that were made.
    state.save(host)
    if any(result.status == OK for result in written):
        show("at once: sysctl --system; systemctl daemon-reload; otherwise at the next boot")
    return right + written


def contents(need: Need, checks: Sequence[Check], only: Sequence[str]) -> Dict[str, str]:
    """What each file is to hold."""
    texts = {}
    settings = [check.setting for check in checks if check.setting is not None]
    if settings:
        texts[SYSCTL_FILE] = _sysctl_head(need) + "".join(map(_sysctl_line, settings))
    if need.has_server and selected("open-files", only):
        texts[UNIT_FILE] = _unit(need)
    return texts


def _sysctl_head(need: Need) -> str:
    return (
        f"# For {need.connections} connections of fanfare, role {need.role}; nothing is below\n"
        "# what it was here before. Written by `scripts/tune persist`, removed by its revert.\n"
    )


def _sysctl_line(setting: Setting) -> str:
    # A dash: no failure where connection tracking is loaded later in the boot.
    dash = "-" if setting.key.startswith("net.netfilter.") else ""
    return f"{dash}{setting.key} = {setting.wanted}\n"


def _unit(need: Need) -> str:
    return (
        "# Written by `scripts/tune persist`, removed by its revert.\n"
        "[Service]\n"
        "# A number, never infinity. Infinity means fs.nr_open: a million on one host, a thousand\n"
        "# million on the next; programs that size tables by their limit, or close every\n"
        "# descriptor below it, then stall. Our number of shards follows from it, too.\n"
        f"LimitNOFILE={need.open_files_limit}\n"
    )


def _write(host: Host, name: str, text: str, state: State) -> Check:
    try:
        state.folders += [str(folder) for folder in host.make_parents(host.path(name))]
        host.write_file(name, text)
    except OSError as error:
        return Check(name, BLOCKED, reason=f"cannot be written: {why(error)}")
    return Check(name, OK, reason="written")
