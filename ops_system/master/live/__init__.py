"""Live: what browsers see change, over one WebSocket."""
