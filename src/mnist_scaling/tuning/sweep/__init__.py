"""All cells of a study: which job is next, tables, progress."""
