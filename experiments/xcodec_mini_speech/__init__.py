"""The text-to-speech model inside the package: how it was trained, and its WER."""
