"""The one way out: how the master calls addresses that operators typed (trust S18)."""
