"""The hash-chained record of acts: who did, or was denied, what, to which target, when."""
