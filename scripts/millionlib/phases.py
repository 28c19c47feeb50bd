"""The phases of a run, as the load generator reads them."""

from typing import NamedTuple


class Lengths(NamedTuple):
    """How long the timed phases take, seconds, and how many updates are broadcast."""

    idle_s: int
    ticker_s: int
    calibrate_s: int
    churn_s: int
    broadcasts: int


FULL = Lengths(idle_s=45, ticker_s=45, calibrate_s=40, churn_s=60, broadcasts=20)
BRIEF = Lengths(idle_s=5, ticker_s=5, calibrate_s=5, churn_s=5, broadcasts=5)

# The topic everybody has.
COMMON = "all"


def phases(connections: int, lengths: Lengths) -> str:
    """The phase file for this many connections."""
    # One topic for a hundred connections, as a market has far more watchers than symbols.
    topics = max(10, min(10_000, connections // 100))
    # An update to all takes some 7 µs of both cores for each connection: so many a second leave most of the machine free.
    beside_per_s = round(20_000 / connections, 3)
    return f"""\
# Everybody comes, and subscribes to one topic.
[[phase]]
kind = "connect"
rate = 0
in_flight = 4000
topics = ["{COMMON}"]

# Nothing is said; the server pings whoever is silent for 30 s.
[[phase]]
kind = "idle"
duration = "{lengths.idle_s}s"

# One update to all, the next when the last has it.
[[phase]]
kind = "broadcast"
topic = "{COMMON}"
publishes = {lengths.broadcasts}
payload_bytes = 100

# One in a hundred leaves and comes back, each second.
[[phase]]
kind = "churn"
percent_per_s = 1
duration = "{lengths.churn_s}s"
topic = "{COMMON}"
rate = {beside_per_s}

# A fifth is cut off at once, and comes back as fast as it can.
[[phase]]
kind = "storm"
percent = 20
topic = "{COMMON}"
rate = {beside_per_s}
timeout = "120s"

# A ticker: {topics} topics, three for each connection, popular ones for many.
[[phase]]
kind = "subscribe"
prefix = "px."
count = {topics}
per_connection = 3
zipf = 1.0

[[phase]]
name = "ticker"
kind = "publish"
prefix = "px."
count = {topics}
duration = "{lengths.ticker_s}s"
payload_bytes = 100
target_server_cpu = 0.7
calibrate = "{lengths.calibrate_s}s"

# Nine in ten leave; then they come back, into the memory that was theirs.
[[phase]]
kind = "leave"
percent = 90

[[phase]]
kind = "return"
rate = 0

[[phase]]
kind = "verify"
"""
