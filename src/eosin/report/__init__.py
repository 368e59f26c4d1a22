"""Turn numbers and pixels into one page that people can read."""
