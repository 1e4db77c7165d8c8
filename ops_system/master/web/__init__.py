"""The HTTP floor of the master: typed routes, permissions, errors, OpenAPI. Features describe, this serves."""
