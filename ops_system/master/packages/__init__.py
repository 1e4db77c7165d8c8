"""The catalogue of service packages: upload, list, download, delete."""
