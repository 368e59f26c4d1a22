"""The vision transformer, its heads and masks, and its way to Hugging Face and back.

Nothing is imported here: `eosin.models.config` is used by recipes, which run without torch.
"""
