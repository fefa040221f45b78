"""Pages of hosts, libraries and syncs."""
