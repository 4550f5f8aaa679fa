"""Language models on codes: integers in, logits out. No audio and no codec ever gets here.

Start at `model.py` (the two networks) and `decoding.py` (how they are used). `vocabulary.py` says which integer means
what, `patterns.py` in which order the codes of several codebooks come, `sequences.py` how text, prompt and codes become
one sequence, `sampling.py` how a next token is drawn, `text.py` how letters become phonemes.
"""
