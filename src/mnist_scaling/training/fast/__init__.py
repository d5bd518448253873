"""Speed behind the protocol of `acceleration`: a step by hand, stacks of models, flat parameters, masks."""
