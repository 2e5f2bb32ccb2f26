"""A whole run, from a content and a style to a result."""
