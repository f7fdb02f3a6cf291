"""Sweeps: many runs, scheduled by Ray. Needs the extra `cluster`."""
