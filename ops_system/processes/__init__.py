"""One OS process tree under care, with no master in sight."""
