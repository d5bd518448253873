"""What to run next, and what it should give."""
