"""Model to features: encoders, extraction from slides, and files of features."""
