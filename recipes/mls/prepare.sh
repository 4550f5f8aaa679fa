#!/usr/bin/env bash
# Usage: recipes/mls/prepare.sh [FOLDER] [JOBS] [LANGUAGE...]
# Describes the Multilingual LibriSpeech folders FOLDER/download/mls_LANGUAGE[_opus], which you download yourself,
# and writes FOLDER/{train,valid,test}.jsonl.gz. Without languages: english.
set -euo pipefail
source "$(dirname "$0")/../lhotse.sh"
folder=${1:-data/mls}
jobs=${2:-8}
languages=("${@:3}")
if [[ ${#languages[@]} -eq 0 ]]; then
    languages=(english)
fi

for language in "${languages[@]}"; do
    if ! compgen -G "$folder/download/mls_${language}*" >/dev/null; then
        echo "error: no $folder/download/mls_$language; download and unpack it first, see README.md" >&2
        exit 1
    fi
done
format=--flac
if compgen -G "$folder/download/mls_*_opus" >/dev/null; then
    format=--opus
fi
lhotse prepare mls "$format" -j "$jobs" "$folder/download" "$folder/manifests"

for split in train:train dev:valid test:test; do
    cuts=()
    for language in "${languages[@]}"; do
        cuts+=("$folder/manifests/$language.${split#*:}.jsonl.gz")
        make_cuts "${cuts[-1]}" "$folder/manifests" "mls-$language" "${split%:*}"
    done
    join_cuts "$folder/${split#*:}.jsonl.gz" "${cuts[@]}"
done
