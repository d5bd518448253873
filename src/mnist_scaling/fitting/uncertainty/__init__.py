"""How far an estimate may be off: noise of the rows, bootstrap, luck in tuning."""
