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
    for name, describe in (
        ("connect", lambda phase: _connect(phase, manifest["server_rss_before_bytes"])),
        ("idle", _idle),
        ("broadcast", _broadcast),
        ("ticker", _ticker),
        ("churn", _churn),
        ("storm", _storm),
    ):
        phase = phases.get(name)
        if phase and phase["outcome"] == "done" and phase["connections_open"]:
            lines += describe(phase)
    if "leave" in phases and "return" in phases:
        lines += _memory_again(phases["leave"], phases["return"])
    return lines


def _connect(phase: dict, empty_bytes: int) -> list[str]:
    held = phase["connections_open"]
    tenths = phase["handshakes_per_s_by_tenth"]
    lines = [
        _line("connected and subscribed", f"{held:,} in {phase['duration_s']:.1f} s", "a million in 120 s"),
        _line("handshakes", f"{phase['handshakes_per_s']:,.0f} a second", "15,000"),
        _line("  the last tenth against the first", f"{tenths[-1] / tenths[0]:.2f}", "not below 0.67"),
    ]
    if phase.get("server"):
        peak, end = (phase["server"][f"rss_{when}_bytes"] - empty_bytes for when in ("peak", "end"))
        lines.append(_line("server, resident a connection", f"{end / held:.0f} B (peak {peak / held:.0f})", "200 B"))
    generator = phase["generator"]["rss_bytes"]
    lines.append(_line("generator, resident a connection", f"{generator / held:.0f} B", "1,024 B"))
    return lines


def _idle(phase: dict) -> list[str]:
    cost = phase.get("server_cpu_us_per_s_and_connection")
    return [] if cost is None else [_line("idle CPU", f"{cost:.3f} µs a second and connection")]


def _broadcast(phase: dict) -> list[str]:
    last = phase["latency_us"]["time_to_last"]
    figure = f"p50 {_s(last['p50'])}, max {_s(last['max'])}, {phase['deliveries']:,} deliveries"
    return [_line("broadcast, until the last has it", figure)]


def _ticker(phase: dict) -> list[str]:
    cores = phase.get("server_cpu_cores")
    at = f"{phase['rate_per_s']:.0f} updates a second" + (f", {cores:.2f} cores" if cores is not None else "")
    return [_line("ticker", f"{at}: {_percentiles(phase['latency_us']['delivery'])}", "0.7 cores")]


def _churn(phase: dict) -> list[str]:
    latency = phase["latency_us"]
    return [
        _line("churn, back and subscribed", _percentiles(latency["reconnect"])),
        _line("  delivery to all meanwhile", _percentiles(latency["delivery"])),
    ]


def _storm(phase: dict) -> list[str]:
    lost = phase["lost_subscriptions"]
    figure = f"{phase['opened']:,} after {_s(phase['time_to_last_back_us'])}, {lost} subscriptions lost"
    lines = [_line("storm, the last is back", figure, "0 lost")]
    delivery = phase["latency_us"].get("delivery")
    return lines + ([_line("  delivery to all meanwhile", _percentiles(delivery))] if delivery else [])


def _memory_again(leave: dict, back: dict) -> list[str]:
    if not leave.get("server") or not back.get("server"):
        return []
    before, after = leave["server"]["rss_begin_bytes"], back["server"]["rss_peak_bytes"]
    return [_line("memory after 90 % left and came back", f"{after / before:.2f} of before", "not above 1")]


def _percentiles(latency: dict) -> str:
    return ", ".join(f"{name.replace('_', '.')} {_s(latency[name])}" for name in ("p50", "p99", "p99_9", "max"))


def _s(us: float) -> str:
    return f"{us / 1e6:.2f} s" if us >= 1e6 else f"{us / 1e3:.1f} ms"


def _line(what: str, figure: str, aim: str = "") -> str:
    return f"{what:<36} {figure}" + (f"   (aim: {aim})" if aim else "")
