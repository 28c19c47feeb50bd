"""What the reports of a figure say: its numbers, whether its aim is met, and a line for people."""

import statistics

STALLED_BYTES_MAX = 16_000
OTHERS_RATIO_MAX = 1.2
# Parts of the server's own account that are of one connection and no other.
OWN_PARTS = ("slab_bytes", "subscription_bytes", "outbox_bytes", "frame_bytes", "mark_bytes", "input_bytes")


def judge(figure, runs: dict[str, list[dict]]) -> dict:
    """`runs`: by variant, a list of {"report", "looks"} by round. Returns {"met", "line", numbers…}."""
    return {"stalled": stalled, "others": others, "resume": resume}[figure.id](runs)


def stalled(runs: dict[str, list[dict]]) -> dict:
    """Memory for one more stalled client: by the resident set, between a thousand and a hundred, and by the server's own
    account, which is exact, under the full load and at its worst."""
    many, thousand, hundred = (runs[name][0] for name in ("many", "thousand", "hundred"))
    clients = _asked(thousand) - _asked(hundred)

    def each(field: str) -> float:
        return (_usual(_under_load(thousand["looks"]), field) - _usual(_under_load(hundred["looks"]), field)) / clients

    resident, kernel = each("rss_bytes"), each("tcp_buffer_bytes")
    accounted = {part: _most(_under_load(many["looks"]), part) / _asked(many) for part in OWN_PARTS}
    woken = many["report"]["readers"]["woken"]
    subscriptions = many["report"]["subscriptions"]["per_connection"]
    published_per_s = _published_per_s(many["report"])
    receipts = many["report"]["readers"]["classes"]["stalled"]
    return {
        "met": max(resident, sum(accounted.values())) <= STALLED_BYTES_MAX and woken["newest_max"] <= subscriptions
               and woken["clients"] == _asked(many),
        "resident_bytes_each": resident,
        "accounted_bytes_each": sum(accounted.values()),
        "accounted_parts_each": accounted,
        "kernel_tcp_buffer_bytes_each": kernel,
        "published_per_s": published_per_s,
        "server_cores": _server_cores(many),
        "woken": woken,
        "receipts": {name: receipts[name] for name in ("published", "delivered", "skipped", "gaps", "lost")},
        "line": (
            f"{resident:,.0f} B resident for each, {sum(accounted.values()):,.0f} B by the server's own account, and "
            f"{kernel:,.0f} B of socket buffers in the kernel, both ends; {published_per_s:,.0f} updates/s; on waking "
            f"at most {woken['newest_max']} newest values, {woken['older_max']} that the kernel had held, none of them "
            f"published later than {woken['older_published_after_ns'] / 1e6:.1f} ms after the stall began; "
            f"{receipts['published']:,} published = {receipts['delivered']:,} delivered + {receipts['skipped']:,} skipped"
        ),
    }


def others(runs: dict[str, list[dict]]) -> dict:
    """The ratio of the medians of p99, with and without those that do not read."""
    p99 = {name: [_healthy(run["report"])["p99_ns"] for run in rounds] for name, rounds in runs.items()}
    medians = {name: statistics.median(values) for name, values in p99.items()}
    ratio = medians["1-percent-not"] / medians["all-healthy"]
    last = runs["1-percent-not"][-1]["report"]["readers"]["classes"]
    cores = [round(_server_cores(run), 2) for rounds in runs.values() for run in rounds]
    return {
        "met": ratio <= OTHERS_RATIO_MAX,
        "ratio": ratio,
        "p99_ns": p99,
        "server_cores": cores,
        "classes": {
            name: {part: of[part] for part in ("connections", "published", "delivered", "skipped", "gaps", "closed_4103")}
            for name, of in last.items()
        },
        "line": (
            f"p99 {medians['1-percent-not'] / 1e6:.2f} ms with and {medians['all-healthy'] / 1e6:.2f} ms without: {ratio:.2f} times "
            f"(with {_spread(p99['1-percent-not'])}, without {_spread(p99['all-healthy'])} ms); the server at "
            f"{min(cores):.2f} to {max(cores):.2f} of a core"
        ),
    }


def resume(runs: dict[str, list[dict]]) -> dict:
    """How many recovered, and when the last had everything."""
    report = runs["resume"][0]["report"]
    resumed, healthy = report["readers"]["resumed"], report["readers"]["classes"]["healthy"]
    return {
        "met": resumed["unrecovered"] == 0 and healthy["gaps"] == 0 and resumed["recovered"] == report["subscriptions"]["acked"],
        "recovered": resumed["recovered"],
        "unrecovered": resumed["unrecovered"],
        "gaps": healthy["gaps"],
        "last_complete_s": resumed["complete"]["max_ns"] / 1e9,
        "last_back_s": resumed["back"]["max_ns"] / 1e9,
        "line": (
            f"{resumed['recovered']:,} recovered, {resumed['unrecovered']} did not, {healthy['gaps']} in gaps; the last "
            f"had everything {resumed['complete']['max_ns'] / 1e9:.2f} s after the cut (half of them {resumed['complete']['p50_ns'] / 1e9:.2f} s)"
        ),
    }


def is_verified(report: dict) -> bool:
    """Whether every seq of every subscription is explained exactly once."""
    return report["verdict"]["passed"]


def _healthy(report: dict) -> dict:
    return report["readers"]["classes"]["healthy"]["delivery"]


def _under_load(looks: list[dict]) -> list[dict]:
    """Those while everybody stalls: something waits without its payload."""
    return [look for look in looks if look["marks"] > 0] or looks


def _usual(looks: list[dict], field: str) -> float:
    return statistics.median(look[field] for look in looks) if looks else 0


def _most(looks: list[dict], field: str) -> float:
    return max((look[field] for look in looks), default=0)


def _asked(run: dict) -> int:
    return run["report"]["connections"]["asked"]


def _published_per_s(report: dict) -> float:
    steady = next(phase for phase in report["phases"] if phase["phase"] == "steady")
    return report["publishing"]["acked"] * 1000 / steady["length_ms"]


def _server_cores(run: dict) -> float:
    """The share of a core while updates were published, by the looks that fell into that time."""
    steady = next(phase for phase in run["report"]["phases"] if phase["phase"] == "steady")
    begin = run["began_s"] + steady["started_ms"] / 1000
    looks = [look for look in run["looks"] if begin <= look["at_s"] <= begin + steady["length_ms"] / 1000 and look["cpu_s"] is not None]
    if len(looks) < 2:
        return 0.0
    return (looks[-1]["cpu_s"] - looks[0]["cpu_s"]) / (looks[-1]["at_s"] - looks[0]["at_s"])


def _spread(values: list[float]) -> str:
    return f"{min(values) / 1e6:.2f} to {max(values) / 1e6:.2f}"
