"""Builds the features of the master, floor by floor."""
