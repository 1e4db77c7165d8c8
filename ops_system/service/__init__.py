"""This program as a boot service: systemd, launchd, Windows. The roles' `main` and `worker leave` call it."""
