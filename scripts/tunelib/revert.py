"""revert: brings back what the state file remembers, and then forgets it."""

from __future__ import annotations

from typing import List, Optional, Sequence

from .change import Show
from .check import BLOCKED, OK, Check
from .checks import selected
from .host import Host, Unreadable, why
from .state import State


def revert(host: Host, state: State, only: Sequence[str], dry_run: bool, show: Show) -> List[Check]:
    """Restores values and files; what cannot be restored stays remembered."""
    if state.is_empty:
        show(f"nothing to revert: there is no {state.file}")
        return []
    results = []
    for key in [key for key in state.sysctls if selected(key, only)]:
        results.append(_restore_sysctl(host, key, state.sysctls[key], dry_run, show))
        if results[-1].status == OK and not dry_run:
            del state.sysctls[key]
    for name in [name for name in state.files if selected(name, only)]:
        results.append(_restore_file(host, name, state.files[name], dry_run, show))
        if results[-1].status == OK and not dry_run:
            del state.files[name]
    if not dry_run:
        state.save(host)
    return results


def _restore_sysctl(host: Host, key: str, old: str, dry_run: bool, show: Show) -> Check:
    try:
        current = host.sysctl(key)
    except Unreadable as error:
        return Check(key, BLOCKED, "", old, str(error))
    show(f"{key}: {current} -> {old}")
    refusal = "" if dry_run or current == old else host.write_sysctl(key, old)
    if refusal:
        return Check(key, BLOCKED, current, old, refusal)
    return Check(key, OK, old, old, f"was {current}")


def _restore_file(host: Host, name: str, old: Optional[str], dry_run: bool, show: Show) -> Check:
    show(f"{name}: {'removed' if old is None else 'its earlier text'}")
    if dry_run:
        return Check(name, OK)
    try:
        if old is None:
            host.path(name).unlink(missing_ok=True)
        else:
            host.write_file(name, old)
        if host.file_text(name) != old:
            return Check(name, BLOCKED, reason="was restored, and is not as it was")
    except OSError as error:
        return Check(name, BLOCKED, reason=f"cannot be restored: {why(error)}")
    return Check(name, OK, reason="removed" if old is None else "restored")
