"""DHCPv4 for machines that boot: what is said (packet), to whom and what (rules, leases), over which wire (server)."""
