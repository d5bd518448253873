"""One training run: data, model, compute accounting, loop. Imports torch; knows nothing of studies."""
