"""The run against what it set out to reach, said in a few lines. Figures are reported as they came out."""

import json
from pathlib import Path


def judge(out: Path, generator_code: int, server_code: int) -> int:
    """Prints the figures beside their aims; the exit code is about correctness alone."""
    summary = json.loads((out / "summary.json").read_text()) if (out / "summary.json").exists() else {}
    manifest = json.loads((out / "manifest.json").read_text())
    for line in _figures(summary, manifest):
        print(line)
    if generator_code != 0:
        print(f"FAILED: the load generator ended with {generator_code}; not every delivery was verified")
    if server_code != 0:
        print(f"FAILED: the server ended with {server_code}")
    return 0 if generator_code == 0 and server_code == 0 else 1


def _figures(summary: dict, manifest: dict) -> list[str]:
    phases = {phase["name"]: phase for phase in summary.get("phases", [])}
    lines = []
    connect = phases.get("connect")
    if connect:
        held = connect["connections_open"]
        server = connect.get("server") or {}
        if held and server:
            grown = server["rss_end_bytes"] - manifest["server_rss_before_bytes"]
            peak = server["rss_peak_bytes"] - manifest["server_rss_before_bytes"]
            lines.append(_line("server, resident a connection", f"{grown / held:.0f} B (peak {peak / held:.0f})", "200 B"))
        generator = (connect.get("generator") or {}).get("rss_bytes")
        if held and generator:
            lines.append(_line("generator, resident a connection", f"{generator / held:.0f} B", "1,024 B"))
        lines.append(_line("connected and subscribed", f"{held:,} in {connect['duration_s']:.1f} s", "120 s"))
    return lines


def _line(what: str, figure: str, aim: str) -> str:
    return f"{what:<36} {figure:<28} (aim: {aim})"
