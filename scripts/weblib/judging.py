"""What the reports of a figure say: its numbers, whether its aim is met, and lines for people."""

import statistics

CPU_RATIO_MAX = 1.3
MEMORY_RATIO_MAX = 1.5
GROWTH_BYTES_MAX = 5_000_000
P99_RATIO_MAX = 1.2
# The server looks at its deadlines now and then, and ends ten thousand connections one after the other.
DEADLINE_SLACK_S = 2.0


def judge(figure, runs: dict[str, list[dict]], quick: bool) -> dict:
    """`runs`: by variant, a list of {"report", …} by round. Returns {"met", "lines", numbers…}."""
    if figure.id == "half-open":
        return half_open(runs, figure.deadline(quick))
    return {"delivery": delivery, "memory": memory}[figure.id](runs)


def delivery(runs: dict[str, list[dict]]) -> dict:
    """CPU for a million deliveries, beside a WebSocket's."""
    return _beside(
        {name: [run["report"]["server_cpu_s_per_million"] for run in rounds] for name, rounds in runs.items()},
        CPU_RATIO_MAX, "cpu_s_per_million", lambda value: f"{value:.2f} s a million",
        {name: [run["report"]["sums"]["skipped"] for run in rounds] for name, rounds in runs.items()},
    )


def memory(runs: dict[str, list[dict]]) -> dict:
    """Resident bytes for each connection, beside a WebSocket's."""
    return _beside(
        {name: [run["report"]["memory"]["rss_per_connection_bytes"] for run in rounds] for name, rounds in runs.items()},
        MEMORY_RATIO_MAX, "resident_bytes_each", lambda value: f"{value:,.0f} B each",
        {name: [run["report"]["memory"]["kernel_slab_per_connection_bytes"] for run in rounds] for name, rounds in runs.items()},
    )


def _beside(values: dict[str, list[float]], ratio_max: float, key: str, shown, aside: dict[str, list]) -> dict:
    medians = {name: statistics.median(of) for name, of in values.items()}
    base = medians["websocket"]
    # A few hundred connections may add nothing that can be seen.
    ratios = {name: median / base if base > 0 else None for name, median in medians.items() if name != "websocket"}
    lines = [f"websocket: {shown(base)} ({_spread(values['websocket'], shown)})"]
    for name, ratio in ratios.items():
        times = "cannot be compared" if ratio is None else f"{ratio:.2f} times a WebSocket's: {_word(ratio <= ratio_max)}"
        lines.append(f"{name}: {shown(medians[name])} ({_spread(values[name], shown)}), {times}")
    return {
        "met": all(ratio is not None and ratio <= ratio_max for ratio in ratios.values()),
        key: values, "medians": medians, "ratios": ratios, "ratio_max": ratio_max, "aside": aside, "lines": lines,
    }


def half_open(runs: dict[str, list[dict]], deadline_s: float) -> dict:
    """Memory, the latency of the others, and the end of those that never end by themselves."""
    p99 = {name: [run["report"]["latency"]["delivery"]["p99_ns"] for run in rounds] for name, rounds in runs.items()}
    medians = {name: statistics.median(values) for name, values in p99.items()}
    ratio = medians["with"] / medians["without"] if medians["without"] else None
    held = runs["with"]
    growth = [run["resident_held_bytes"] - run["resident_before_bytes"] for run in held]
    ends = [end for run in held for end in _ends(run["half_open"])]
    opened, ended = (sum(run["half_open"][field] for run in held) for field in ("opened", "ended"))
    first_s, last_s = (pick((end[field] for end in ends), default=0.0) for pick, field in ((min, "first_s"), (max, "last_s")))
    in_time = ended == opened and first_s >= deadline_s - DEADLINE_SLACK_S and last_s <= deadline_s + DEADLINE_SLACK_S
    statuses: dict[str, int] = {}
    for end in ends:
        for status, count in end["ended"].items():
            statuses[status] = statuses.get(status, 0) + count
    usual = statistics.median(growth)
    is_small, is_quiet = usual < GROWTH_BYTES_MAX, ratio is not None and ratio <= P99_RATIO_MAX
    each = usual / (opened / len(held)) if opened else 0.0
    compared = "cannot be compared" if ratio is None else f"{ratio:.2f} times"
    return {
        "met": is_small and is_quiet and in_time,
        "growth_bytes": growth, "growth_bytes_max": GROWTH_BYTES_MAX,
        "p99_ns": p99, "p99_ratio": ratio, "p99_ratio_max": P99_RATIO_MAX,
        "opened": opened, "ended": ended, "statuses": statuses, "first_s": first_s, "last_s": last_s, "deadline_s": deadline_s,
        "lines": [
            f"memory: {usual / 1e6:.2f} MB more ({each:,.0f} B each; {_spread(growth, lambda value: f'{value / 1e6:.2f} MB')}): {_word(is_small)}",
            f"others: p99 {medians['with'] / 1e6:.2f} ms with and {medians['without'] / 1e6:.2f} ms without, {compared} "
            f"(with {_spread(p99['with'], _ms)}; without {_spread(p99['without'], _ms)}): {_word(is_quiet)}",
            f"ended: {ended:,} of {opened:,} ({', '.join(f'{count:,} {status}' for status, count in sorted(statuses.items())) or 'none'}), "
            f"{first_s:.1f} to {last_s:.1f} s after their first bytes, the deadline being {deadline_s} s: {_word(in_time)}",
        ],
    }


def is_verified(run: dict) -> bool:
    """Whether every delivery was right, and all that was to be opened was."""
    never_end = run.get("half_open")
    return run["report"]["verdict"]["passed"] and (never_end is None or never_end["opened"] == never_end["asked"])


def _ends(report: dict):
    for style in report["styles"]:
        if style["after"]["count"]:
            yield {"ended": style["ended"], "first_s": style["after"]["min_ns"] / 1e9, "last_s": style["after"]["max_ns"] / 1e9}


def _ms(value: float) -> str:
    return f"{value / 1e6:.2f} ms"


def _spread(values: list, shown) -> str:
    return f"{shown(min(values))} to {shown(max(values))}"


def _word(is_met: bool) -> str:
    return "met" if is_met else "MISSED"
