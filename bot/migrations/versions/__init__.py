"""Schema changes of the application's own tables, in order."""
