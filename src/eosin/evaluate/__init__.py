"""Turn features into numbers that say how far they can be trusted."""
