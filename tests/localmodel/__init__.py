"""Tests of the simulated model, spoken to through the real client."""
