"""What the master proves itself with: certificate authority, leaf certificate, package signing key, sealing key."""
