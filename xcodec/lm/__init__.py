"""Language models on codes: integers in, logits out. Knows no audio and no codec.

Start at `model.py` (the two networks) and `generation.py` (how they are sampled). `layout.py` has the codebook
patterns, the token ids and how text, prompt and codes become one sequence; `text.py` and `normalization.py` turn
writing into phonemes; `alignment.py` and `text_encoder.py` are for text that is aligned with the frames.
"""
