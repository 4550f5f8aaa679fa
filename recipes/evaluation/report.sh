#!/bin/sh
# The report in docs/evaluation, from nothing: recordings of open-audio that no model may be trained on, two codecs at
# three bandwidths, four anchors and the original. Run it again, and it goes on where it stopped.
#
#   recipes/evaluation/report.sh [CLIPS OF SPEECH [CLIPS OF MUSIC AND OF SOUND [SENTENCES PER VOICE]]]     48, 8, 14
#
# BIN is where python and xcodec are, ACOUSTIC the folder of xcodec-mini's acoustic twin; without it, the twin is left
# out. JOBS is how many clips are at work at a time. About 20 minutes on one idle core; most of it is Whisper and ABX.
set -eu
cd "$(dirname "$0")/../.."
speech=${1:-48}
others=${2:-8}
sentences=${3:-14}
bin=${BIN:-.venv/bin}
acoustic=${ACOUSTIC:-checkpoints/xcodec-mini-acoustic}
recordings=data/open-audio-eval/manifest.jsonl
out=out/evaluation
mkdir -p "$out" docs/evaluation

[ -f "$recordings" ] || "$bin/python" -m recipes.open_audio.prepare --eval
[ -f data/asr/whisper-base/model.bin ] || "$bin/python" -m recipes.evaluation.whisper_base data/asr/whisper-base

"$bin/python" -m recipes.evaluation.choose "$recordings" --speech "$speech" --music "$others" --sound "$others" \
    > "$out/chosen.jsonl"
set -- -c xcodec-mini@0.5 -c xcodec-mini@1 -c xcodec-mini@4
if [ -d "$acoustic" ]; then
    set -- "$@" -c "$acoustic@0.5" -c "$acoustic@1" -c "$acoustic@4"
fi
"$bin/xcodec" evaluate reconstruction "$out/chosen.jsonl" -c original "$@" \
    -c opus@6 -c opus@9 -c opus@12 -c codec2@3.2 \
    --longest 6 --keep 3 --asr data/asr/whisper-base --jobs "${JOBS:-2}" --out "$out"

# Phones want transcripts, and comparisons across speakers several voices: English speech, recorded and synthetic.
"$bin/python" -m recipes.evaluation.english "$recordings" "$out/english" --sentences "$sentences"
set -- -c xcodec-mini@4
if [ -d "$acoustic" ]; then
    set -- "$@" -c "$acoustic@4"
fi
"$bin/xcodec" evaluate semantic "$out/english" "$@" --out "$out"

# The music of Drascula may be measured by anyone, but not be published in a repository like this; of speech, one source is
# enough to hear.
"$bin/xcodec" evaluate report "$out" --clips 1 --mute drascula-music --mute pocketsphinx-testdata \
    --title "xcodec-mini, its acoustic twin, Opus and Codec 2" --out docs/evaluation/report.html
