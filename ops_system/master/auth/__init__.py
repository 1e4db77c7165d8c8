"""Who may come in: setup, users, sessions, API tokens, join tokens; and the answer to "who is calling?"."""
