"""Is this codec good, and are its tokens good for language models? Asked of any codec, in the same words.

`clips.py` chooses what to listen to, `codecs/` makes anything a codec that can be judged, `metrics/` holds one measure
per file, `reconstruction.py` runs them, and `summary.py` turns many clips into means with intervals and paired tests.
"""
