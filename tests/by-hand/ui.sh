# The Control UI in Chromium, served by the gateway itself and reached through the recorder.
# shellcheck shell=bash disable=SC2154

pictures=$folder/pictures
mkdir -p "$pictures"
step "the Control UI; pictures in $pictures"
CLAWPORT="$clawport" OPENCLAW_STATE_DIR="$state" FOLDER="$folder" RECORD="$state/record.jsonl" \
    BROWSER=$(command -v chromium) node "$here/control_ui.mjs" "http://127.0.0.1:$port" "$pictures" || fault "the Control UI"
