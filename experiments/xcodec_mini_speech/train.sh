#!/bin/sh
# Trains the NAR model of xcodec-mini-speech further, from the comparison's, and converts what is put into the package. The AR
# model is the comparison's. Run it from the checkout.
set -e
compared=runs/codec-does-matter
own=runs/xcodec-mini-speech
resume=
[ -d $own/nar/checkpoints ] && resume=--resume
[ -d $own/nar/model ] ||
    xcodec train configs/lm/speech-nar-mini.yaml name=nar runs=$own steps=3800 optimizer.lr=8e-4 \
        "data.table=$compared/tokens/semantic/speech" \
        "data.sources=[synthetic-piper,synthetic-flite,synthetic-kokoro]" \
        "init_from=$compared/runs/semantic-speech-nar-mini-0/model" $resume
[ -d $own/models/ar ] || xcodec convert $compared/runs/semantic-speech-ar-mini-0/model $own/models/ar --half
[ -d $own/models/nar ] || xcodec convert $own/nar/model $own/models/nar --half
