"""The master: console, API and control plane."""
