"""Arms: the rows of a study or of anyone's table that are fitted and compared, and what a study's runs say of them."""
