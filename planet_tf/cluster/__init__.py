"""More than one process or machine, by Ray: sweeps of runs. Needs the extra `cluster`."""
