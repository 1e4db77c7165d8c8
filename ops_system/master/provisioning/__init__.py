"""Installations: tasks, machines, data centres, approvals. The state lies in the store, whichever master writes it."""
