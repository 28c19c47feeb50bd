"""apply: raises what is LOW, and keeps what was there before."""

from __future__ import annotations

from dataclasses import replace
from typing import Callable, List, Sequence

from .check import BLOCKED, OK, Check, Setting
from .host import Host
from .state import State

Show = Callable[[str], None]


def apply(
    host: Host, checks: Sequence[Check], state: State, dry_run: bool, show: Show
) -> List[Check]:
    """Sets every sysctl that its check wants otherwise; returns how each went.

    One that is refused does not keep the others from being set.
    """
    changes = [
        (check, check.setting)
        for check in checks
        if check.setting is not None and check.setting.current != check.setting.wanted
    ]
    for _, setting in changes:
        show(f"{setting.key}: {setting.current} -> {setting.wanted}")
    if not changes:
        show("nothing to change")
    if dry_run or not changes:
        return [check for check, _ in changes]
    for check, setting in changes:
        if check.status != BLOCKED:
            state.remember_sysctl(setting.key, setting.current)
    state.save(host)
    results = [
        check if check.status == BLOCKED else _set(host, check, setting)
        for check, setting in changes
    ]
    changed = sum(check.status == OK for check in results)
    show(f"{changed} changed, {len(results) - changed} refused")
    return results


def _set(host: Host, check: Check, setting: Setting) -> Check:
    refusal = host.write_sysctl(setting.key, setting.wanted)
    if refusal:
        return replace(check, status=BLOCKED, reason=refusal)
    return replace(check, status=OK, value=setting.wanted, reason=f"was {setting.current}", fix="")
