"""This program as a boot service of the operating system."""
