"""One training step: engine, optimisers, schedules."""
