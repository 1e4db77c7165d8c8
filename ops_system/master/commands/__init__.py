"""Commands on nodes: one at once, many as an operation, and those kept for later. Output comes through the links."""
