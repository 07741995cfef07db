"""Commands that print figures. Timed claims belong here, not in the tests."""
