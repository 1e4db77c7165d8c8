"""Alerts: rules on what the fleet reports, what fires, who is told, and who is left in peace."""
