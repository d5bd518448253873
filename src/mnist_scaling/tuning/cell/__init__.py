"""Cells: from overrides to the cells of a grid, what each of them tries next, and how far it is tuned."""
