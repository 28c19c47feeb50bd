"""The summary as Markdown: a table a load, the cheapest server first, fanfare wherever it comes out."""

REFERENCE = "fanfare"
CPU = "server_cpu_s_per_million"
# What a server is judged by, where it is not the CPU.
COST = {"hold": "rss_per_connection_bytes"}


def markdown(summary: dict) -> str:
    """The whole page."""
    lines = ["# Side by side", "", _introduction(summary), ""]
    for load in summary["loads"]:
        lines += [f"## {load['id']}: {load['title']}", "", *_table(load, summary["rivals"], summary["cores"]), ""]
    lines += _missing(summary)
    return "\n".join(lines)


def _introduction(summary: dict) -> str:
    text = (
        f"Each load on each server in turn, {summary['rounds']} rounds; medians, with least and most in brackets. "
        "CPU is the server's, user and system, all its processes; × compares it with fanfare's. "
        "A figure marked † was limited by the load generator: the CPU holds, the rate and latency are too low or too high."
    )
    return "**A quick run: its figures mean nothing.** " + text if summary["quick"] else text


def _table(load: dict, rivals: dict, cores: int) -> list[str]:
    head = {
        "updates": ["CPU s a million deliveries", "×", "deliveries a second", "p50", "p99", "max", "server cores", "bytes each"],
        "echo": ["CPU s a million messages", "×", "messages a second", "p50", "p99", "max", "server cores"],
        "rejoin": ["CPU s a million connections", "×", "connections a second", "p50", "p99", "max", "server cores"],
        "hold": ["resident a connection", "×", "kernel a connection", "resident before", "CPU µs to join"],
    }[load["kind"]]
    lines = ["| server | " + " | ".join(head) + " | |", "|---" * (len(head) + 2) + "|"]
    results = load["results"]
    cost = {name: _median(result, COST.get(load["kind"], CPU)) for name, result in results.items()}
    for name in sorted(results, key=lambda name: (cost[name] is None, cost[name] or 0)):
        result = results[name]
        title = rivals[name]["title"]
        title = f"**{title}**" if name.startswith(REFERENCE) else title
        if "reason" in result:
            cells = ["n/a"] + [""] * (len(head) - 1) + [result["reason"]]
        else:
            remarks = _remarks(result, cores if load.get("all_cores") else None)
            cells = [*_cells(load["kind"], result, cost[name], cost.get(REFERENCE)), remarks]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return lines


def _cells(kind: str, result: dict, cost: float | None, reference: float | None) -> list[str]:
    ratio = f"{cost / reference:.2f}" if cost is not None and reference else "-"
    mark = "" if result["valid"] else " †"
    cpu = _spread(result, CPU, _number)
    if kind == "hold":
        # A load that also publishes counts its deliveries; joining is what is asked for here.
        join = _spread(result, "join_cpu_us_each", _number)
        return [
            _spread(result, "rss_per_connection_bytes", _bytes), ratio,
            _spread(result, "kernel_slab_per_connection_bytes", _bytes), _spread(result, "rss_before_bytes", _bytes), join,
        ]
    latencies = [_spread(result, f"latency_{name}_us", _time) for name in ("p50", "p99", "max")]
    # As they came: compressed or not, with their frames and with what TLS adds.
    sizes = [_spread(result, "in_bytes_per_delivery", _count)] if kind == "updates" else []
    return [cpu, ratio, _spread(result, "delivered_per_s", _count) + mark, *latencies,
            _spread(result, "server_cores", lambda cores: f"{cores:.2f}"), *sizes]


def _remarks(result: dict, cores: int | None) -> str:
    remarks = [] if result["verified"] else ["**not verified:** " + "; ".join(result["failures"][:3])]
    if cores is not None:
        remarks.append(_limit(_median(result, "server_cores"), _median(result, "generator_cores"), cores))
    return ". ".join(remarks).replace("|", "\\|")


def _limit(server: float | None, generator: float | None, cores: int) -> str:
    """What kept the rate from being higher, where server and generator share all cores."""
    if server is None or generator is None:
        return ""
    if server + generator > 0.95 * cores:
        what = f"all {cores} cores were busy"
    elif generator > 0.95:
        what = "the generator, which is one thread"
    else:
        what = "neither: they waited for one another"
    return f"generator {generator:.2f} cores; limit: {what}"


def _missing(summary: dict) -> list[str]:
    missing = {name: rival["missing"] for name, rival in summary["rivals"].items() if rival.get("missing")}
    if not missing:
        return []
    return ["## Missing", "", *(f"- {summary['rivals'][name]['title']}: {why}" for name, why in missing.items()), ""]


def _median(result: dict, figure: str) -> float | None:
    return result.get("figures", {}).get(figure, {}).get("median")


def _spread(result: dict, figure: str, show) -> str:
    values = result["figures"].get(figure)
    if values is None:
        return "-"
    if result["rounds"] < 2:
        return show(values["median"])
    return f"{show(values['median'])} ({show(values['min'])}–{show(values['max'])})"


def _number(value: float) -> str:
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _time(us: float) -> str:
    return f"{us:.0f} µs" if us < 1000 else f"{us / 1e3:.1f} ms" if us < 1e6 else f"{us / 1e6:.2f} s"


def _bytes(value: float) -> str:
    return f"{value:.0f} B" if value < 10_000 else f"{value / 1e3:.1f} kB" if value < 1e6 else f"{value / 1e6:.1f} MB"
