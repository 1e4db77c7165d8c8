"""The little I/O kit every role uses."""
