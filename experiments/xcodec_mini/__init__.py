"""How xcodec-mini was found: what is worth quantising, ablations, and what its tokens are like."""
