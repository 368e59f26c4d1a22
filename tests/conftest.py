"""Property tests look at the same examples each time, and may take as long as a machine needs."""

from hypothesis import settings

settings.register_profile("eosin", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("eosin")
