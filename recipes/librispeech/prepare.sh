#!/usr/bin/env bash
# Usage: recipes/librispeech/prepare.sh [FOLDER] [JOBS]
# Downloads LibriSpeech (60 GB) to FOLDER/download unless it is there, and writes FOLDER/{train,valid,test}.jsonl.gz.
set -euo pipefail
source "$(dirname "$0")/../lhotse.sh"
folder=${1:-data/librispeech}
jobs=${2:-8}

mkdir -p "$folder/download"
download_once "$folder/download/LibriSpeech" lhotse download librispeech --full "$folder/download"
lhotse prepare librispeech -j "$jobs" "$folder/download/LibriSpeech" "$folder/manifests"

make_cuts "$folder/train.jsonl.gz" "$folder/manifests" librispeech train-clean-100 train-clean-360 train-other-500
make_cuts "$folder/valid.jsonl.gz" "$folder/manifests" librispeech dev-clean
make_cuts "$folder/test.jsonl.gz" "$folder/manifests" librispeech test-clean
