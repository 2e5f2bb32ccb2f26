"""Feature statistics and the losses of them, as pure functions of arrays."""
