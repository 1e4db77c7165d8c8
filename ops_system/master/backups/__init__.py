"""Copies of the database: made hourly while everything goes on, the newest kept."""
