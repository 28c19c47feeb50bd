"""The parts of scripts/slow-readers."""
