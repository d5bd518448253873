"""Anyone's table as plain arrays."""
