"""Metrics: the last fifteen minutes of every node and instance, second by second, in memory."""
