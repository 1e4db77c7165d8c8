"""TFTP, read only: what is said (packet), when it is said again (rules), over which wire (server)."""
