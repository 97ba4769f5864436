#!/usr/bin/env bash
# Public report: unjs/ocache PR 88, acarteas/FileCache 13 (keys joined of parts that may hold the separator); Places365 categories hold slashes (zhoubolei/places_devkit)
# Expected: maps.safetensors names maps CONDITION/PATH; label "a" with image pics/x/1.png and label "a/pics" with x/1.png get the same name: one map is lost and the other shown for both.
. "$(dirname "$0")/lib.sh"

pic "$T/pics/x/1.png" 1; pic "$T/x/1.png" 2
printf 'image,label\npics/x/1.png,a\nx/1.png,a/pics\n' > "$T/t.csv"
dm scan "$T/t.csv" --model "$M" --out "$T/r" $Q > "$T/o" 2>&1 || ok "refused: $(tail -1 "$T/o")"
n=$(node -e 'const b=require("fs").readFileSync(process.argv[1]),n=Number(b.readBigUInt64LE(0));console.log(Object.keys(JSON.parse(b.subarray(8,8+n))).filter(k=>k!=="__metadata__").length)' "$T/r/shards/00000/maps.safetensors")
[ "$n" = 2 ] && ok "two maps"
bad "two pictures were scored, $n map was kept"
