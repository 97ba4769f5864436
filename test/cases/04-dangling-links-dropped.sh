#!/usr/bin/env bash
# Public report: bids-standard/pybids issue 632, datalad/datalad 3513 and 6973 (git-annex: images are links to content not fetched yet)
# Expected: An image that is a dangling link must be skipped and listed (skipped.jsonl, stderr), as any other unreadable image.
. "$(dirname "$0")/lib.sh"

for i in 1 2 3; do pic "$T/d/a/$i.png" $i; done; pic "$T/d/b/1.png" 9
for i in 2 3; do rm "$T/d/a/$i.png"; ln -s "../../.git/annex/objects/x/SHA$i.png" "$T/d/a/$i.png"; done
dm scan "$T/d" --model "$M" --out "$T/r" $Q > "$T/o" 2>&1 || ok "refused: $(tail -1 "$T/o")"
[ -s "$T/r/skipped.jsonl" ] && ok "listed: $(head -1 "$T/r/skipped.jsonl")"
grep -qiE "link|missing|skipped a/2.png|not there" "$T/o" && ok "told"
bad "two of three pictures of 'a' are dangling links: left out, not listed, not told: $(grep Scored "$T/o")"
