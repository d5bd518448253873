"""A law and what it misses: ln L = ln law + g + noise, with g a smooth random surface whose size is learnt."""
