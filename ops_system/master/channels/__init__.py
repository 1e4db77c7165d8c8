"""Channels: where notices of trouble go, and the outbox that brings them there."""
