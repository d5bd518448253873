"""Anyone's Hydra application as tuning sees it: `cell_task` makes a task of its main function."""
