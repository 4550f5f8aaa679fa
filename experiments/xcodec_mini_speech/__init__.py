"""The voice inside the package: how it was trained, and the word errors it makes."""
