"""One law fitted to one table: objective, solver, starts."""
