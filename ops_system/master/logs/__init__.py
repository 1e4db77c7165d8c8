"""Named logs of an instance, read and followed through its node's link. Nothing is stored here."""
