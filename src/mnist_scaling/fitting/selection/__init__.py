"""Several laws on one table: how well each fits and predicts, and which one describes it."""
