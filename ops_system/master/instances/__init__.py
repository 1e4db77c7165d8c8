"""Instances: the wish and the observation of each, what is waited for, its timeline."""
