"""Config templates with their versions, and the values that go down from the master to an instance."""
