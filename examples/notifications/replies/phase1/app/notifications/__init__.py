"""What users are told inside the application."""
