"""The parts of scripts/autobahn."""
