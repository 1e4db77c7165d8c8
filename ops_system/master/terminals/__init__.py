"""Terminals: the sessions live on the workers; here is who may look, the bridge to browsers, and what is on record."""
