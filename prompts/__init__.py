"""What the model is told: strict Jinja2 Markdown, one file per job."""
