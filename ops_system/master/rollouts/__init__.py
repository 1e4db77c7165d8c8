"""Actions on whole systems: many instances, in waves of the start order."""
