#!/bin/sh
# The report in docs/evaluation, from nothing: recordings of open-audio that no model may be trained on, two codecs at
# three bandwidths, four anchors and the original. An interrupted run continues when it is run again.
#
#   recipes/evaluation/report.sh [CLIPS OF SPEECH [CLIPS OF MUSIC AND OF SOUND [SENTENCES PER VOICE]]]     48, 8, 14
#
# BIN is where python and xcodec are, ACOUSTIC the folder of xcodec-mini's acoustic twin; without it, the twin is left
# out. JOBS is the number of processes. About 20 minutes on one idle core; most of it is Whisper and ABX.
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

# Phones need transcripts, and ABX across speakers several speakers: English speech, recorded and synthetic.
"$bin/python" -m recipes.evaluation.english "$recordings" "$out/english" --sentences "$sentences"
set -- -c xcodec-mini@4
if [ -d "$acoustic" ]; then
    set -- "$@" -c "$acoustic@4"
fi
"$bin/xcodec" evaluate semantic "$out/english" "$@" --out "$out"

# The licence of the music of Drascula allows measuring it, but not publishing it in a repository like this; of speech, audio of
# one source is enough.
"$bin/xcodec" evaluate report "$out" --clips 1 --mute drascula-music --mute pocketsphinx-testdata \
    --title "xcodec-mini, its acoustic twin, Opus and Codec 2" --out docs/evaluation/report.html
