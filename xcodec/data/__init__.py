"""Audio to train on: manifests of recordings, and an endless, resumable stream of random crops from them."""
