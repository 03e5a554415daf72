"""Controls of the measures: what they say on data whose answer is known."""
