"""Study to figures and a page: `study` reads, `prepare` computes, `figures` draws, `html` writes."""
