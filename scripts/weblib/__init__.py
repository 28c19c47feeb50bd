"""The parts of scripts/web."""
