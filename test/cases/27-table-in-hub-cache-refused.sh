#!/usr/bin/env bash
# Public report: huggingface/huggingface_hub issue 1388 (snapshots are links into blobs/); egonSchiele/agency-lang PR 1032
# Expected: A table in a Hugging Face snapshot, whose images are links into blobs/ of the same download: read it, or name a way (the hint, "put the table beside or above the images", is already so).
. "$(dirname "$0")/lib.sh"

pic "$T/hub/blobs/x.png" 1; mkdir -p "$T/hub/snapshots/abc/images"; mv "$T/hub/blobs/x.png" "$T/hub/blobs/0123abcd"; ln -s ../../../blobs/0123abcd "$T/hub/snapshots/abc/images/a.png"
printf 'image,label\nimages/a.png,x\n' > "$T/hub/snapshots/abc/labels.csv"
dm inspect "$T/hub/snapshots/abc/labels.csv" > "$T/o" 2>&1 && ok "read"
grep -qiE 'cp -rL|--local-dir|copy|--follow' "$T/o" && ok "told how"
bad "$(tr '\n' ' ' < "$T/o")"
