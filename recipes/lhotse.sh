# Sourced by the recipes that use `lhotse prepare`; needs `pip install 'xcodec[train]'`.

# download_once FOLDER COMMAND...
# Runs COMMAND unless FOLDER is there already: a corpus of your own is left alone, an interrupted download goes on.
download_once() {
    local folder=$1 unfinished=$1.unfinished
    if [[ -d $folder && ! -e $unfinished ]]; then
        return
    fi
    touch "$unfinished"
    "${@:2}"
    rm "$unfinished"
}

# make_cuts OUTPUT MANIFESTS PREFIX PART...
# One cut manifest, OUTPUT, of all PARTs that `lhotse prepare` described in the folder MANIFESTS.
make_cuts() {
    local output=$1 manifests=$2 prefix=$3
    shift 3
    if [[ -e $output ]]; then
        return
    fi
    local part cuts=()
    for part in "$@"; do
        lhotse cut simple --force-eager \
            --recording-manifest "$manifests/${prefix}_recordings_$part.jsonl.gz" \
            --supervision-manifest "$manifests/${prefix}_supervisions_$part.jsonl.gz" \
            "$manifests/${prefix}_cuts_$part.jsonl.gz"
        cuts+=("$manifests/${prefix}_cuts_$part.jsonl.gz")
    done
    join_cuts "$output" "${cuts[@]}"
}

# join_cuts OUTPUT CUTS...
# One cut manifest of several. Compressed files one after the other are a compressed file.
join_cuts() {
    cat "${@:2}" > "$1.partial" # written beside and renamed: a manifest under the final name is always whole
    mv "$1.partial" "$1"
    echo "wrote $1"
}
