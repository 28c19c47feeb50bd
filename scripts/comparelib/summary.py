"""From the reports of all rounds to one figure with its spread for each server and load."""

import statistics

# What is summed up: name, place in the generator's report, factor.
FIGURES = (
    ("server_cpu_s_per_million", ("server_cpu_s_per_million",), 1),
    ("delivered_per_s", ("window", "delivered_per_s"), 1),
    ("published_per_s", ("window", "published_per_s"), 1),
    ("in_bytes_per_delivery", ("window", "in_bytes_per_delivery"), 1),
    ("latency_p50_us", ("latency", "p50_ns"), 1e-3),
    ("latency_p99_us", ("latency", "p99_ns"), 1e-3),
    ("latency_p999_us", ("latency", "p999_ns"), 1e-3),
    ("latency_max_us", ("latency", "max_ns"), 1e-3),
    ("time_to_last_p50_us", ("time_to_last", "p50_ns"), 1e-3),
    ("server_cores", ("window", "server", "cores"), 1),
    ("generator_cores", ("window", "generator_cores"), 1),
    ("joined_per_s", ("join", "joined_per_s"), 1),
    ("join_cpu_us_each", ("join", "server_cpu_us_each"), 1),
    ("join_server_cores", ("join", "server_cores"), 1),
    ("join_generator_cores", ("join", "generator_cores"), 1),
    ("rss_per_connection_bytes", ("memory", "rss_per_connection_bytes"), 1),
    ("kernel_slab_per_connection_bytes", ("memory", "kernel_slab_per_connection_bytes"), 1),
    ("rss_before_bytes", ("memory", "before", "rss_bytes"), 1),
)


def sum_up(reports: list[dict]) -> dict:
    """Medians with least and most of what the rounds have shown, and what was wrong with any of them."""
    good = [report for report in reports if "error" not in report]
    figures = {}
    for name, place, factor in FIGURES:
        values = [value * factor for report in good if (value := _at(report, place)) is not None]
        if values:
            figures[name] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    verdicts = [report["verdict"] for report in good]
    return {
        "rounds": len(reports),
        "figures": figures,
        "verified": bool(good) and len(good) == len(reports) and all(verdict["passed"] for verdict in verdicts),
        "valid": bool(good) and all(verdict["valid"] for verdict in verdicts),
        "failures": _distinct([report["error"] for report in reports if "error" in report]
                              + [failure for verdict in verdicts for failure in verdict["failures"]]),
        "invalid_because": _distinct([reason for verdict in verdicts for reason in verdict["invalid_because"]]),
    }


def _at(report: dict, place: tuple[str, ...]) -> float | None:
    value = report
    for key in place:
        if value is None:
            return None
        value = value.get(key)
    return value


def _distinct(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(texts))
