"""More than one process or machine, by Ray: the connection, and remote collectors."""
