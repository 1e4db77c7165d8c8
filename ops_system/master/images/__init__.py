"""Images of operating systems, install profiles and their templates: what a task is resolved from."""
