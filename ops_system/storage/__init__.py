"""SQLite and blobs; only the master stands on this floor."""
