#!/bin/sh
# The report in docs/evaluation, from nothing: the recordings of open-audio that no model may be trained on, six codecs
# and the original. Run it again, and it goes on where it stopped.
#
#   recipes/evaluation/report.sh [CLIPS PER DOMAIN]     30 by default
#
# BIN is where python and xcodec are, ACOUSTIC the folder of xcodec-mini's acoustic twin; without it, the twin is left out.
set -eu
cd "$(dirname "$0")/../.."
clips=${1:-30}
bin=${BIN:-.venv/bin}
acoustic=${ACOUSTIC:-checkpoints/xcodec-mini-acoustic}
out=out/evaluation

[ -f data/open-audio-eval/manifest.jsonl ] || "$bin/python" recipes/open-audio/prepare.py --eval
[ -f data/asr/whisper-base/model.bin ] || "$bin/python" recipes/evaluation/whisper_base.py data/asr/whisper-base

set -- -c xcodec-mini@0.5 -c xcodec-mini@4
if [ -d "$acoustic" ]; then
    set -- "$@" -c "$acoustic@0.5" -c "$acoustic@4"
fi
"$bin/xcodec" evaluate reconstruction data/open-audio-eval -c original "$@" \
    -c opus@6 -c opus@9 -c opus@12 -c codec2@3.2 \
    --clips "$clips" --longest 6 --keep 3 --asr data/asr/whisper-base --jobs 2 --out "$out"

# Phones want transcripts: English speech alone.
"$bin/python" recipes/evaluation/english.py data/open-audio-eval/manifest.jsonl "$((clips * 2))" > out/english.jsonl
set -- -c xcodec-mini@4
if [ -d "$acoustic" ]; then
    set -- "$@" -c "$acoustic@4"
fi
"$bin/xcodec" evaluate semantic out/english.jsonl "$@" --out "$out"

# The music of Drascula may be measured by anyone, but not be published in a repository like this.
mkdir -p docs/evaluation
"$bin/xcodec" evaluate report "$out" --clips 1 --mute drascula-music --title "xcodec-mini, its acoustic twin, Opus and Codec 2" \
    --out docs/evaluation/report.html
