"""The people who use the desk."""
