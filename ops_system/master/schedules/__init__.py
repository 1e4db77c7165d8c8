"""What runs by the clock: cron lines in a time zone, their runs and what became of them."""
