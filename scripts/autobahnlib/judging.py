"""What the suite found beside what is expected: a case is a name and a word, such as OK or INFORMATIONAL."""

import json
from pathlib import Path

# No other word may be expected: NON-STRICT is a failure here.
GOOD = ("OK", "INFORMATIONAL")


def read_report(index: Path, agent: str) -> dict[str, str]:
    """Each case's word, from the index that the suite wrote. Where messages and closing behaved differently, both."""
    found = {}
    for case, told in json.loads(index.read_text())[agent].items():
        words = [told["behavior"], told["behaviorClose"]]
        found[case] = words[0] if words[0] == words[1] else "/".join(words)
    return found


def compare(expected: dict[str, str], found: dict[str, str], wanted: list[str]) -> tuple[int, list[str]]:
    """How many cases passed, and a line for each that did not. `wanted` are the patterns of cases that were asked for."""
    passed, failures = 0, []
    for case in sorted({case for case in expected if matches(case, wanted)} | set(found), key=in_order):
        is_as_expected = found.get(case) == expected.get(case) and found.get(case) in GOOD
        passed += is_as_expected
        if not is_as_expected:
            failures.append(f"{case}: {found.get(case, 'was not run')}, expected {expected.get(case, 'no such case')}")
    return passed, failures


def matches(case: str, patterns: list[str]) -> bool:
    """Whether a case is one of those that the suite takes for these patterns: `7.*` is all of section 7."""
    return any(case == pattern or (pattern.endswith("*") and case.startswith(pattern[:-1])) for pattern in patterns)


def in_order(case: str) -> list[int]:
    """12.10.2 stands behind 12.9.1."""
    return [int(part) for part in case.split(".")]
