"""Studies and fits to figures, terminal and pages: `documents` reads and writes, `figures` draws, `words` says."""
