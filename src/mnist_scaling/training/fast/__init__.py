"""Speed behind the protocol of the engine: a step by hand, stacks of models, flat parameters, masks."""
