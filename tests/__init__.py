"""Tests: unit (pure), git (real Git), flow (the simulated world over HTTP), live (behind a flag)."""
