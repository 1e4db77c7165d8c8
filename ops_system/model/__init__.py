"""The nouns and their pure rules, shared by two roles or more."""
