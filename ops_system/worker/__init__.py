"""The worker: runs services on a node and goes on alone while the master is away."""
