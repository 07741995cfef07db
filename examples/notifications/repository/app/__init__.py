"""The API behind Acme's service desk."""
