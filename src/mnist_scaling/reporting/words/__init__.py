"""Tables and sentences of a fit, a study, a comparison: data, which the terminal and the pages draw alike."""
