"""The parts of scripts/million."""
