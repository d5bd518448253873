"""One Optuna study per cell of the grid, all cells side by side, through any Hydra launcher."""
