"""Networks that paint any photo in one style, in one pass."""
