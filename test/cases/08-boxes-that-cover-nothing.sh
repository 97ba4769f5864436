#!/usr/bin/env bash
# Public report: AlexeyAB/darknet issue 785, swatig007/automlForImages PR 27, ultralytics/ultralytics 13344 (normalized or out-of-image boxes)
# Expected: Boxes with coordinates of 0 to 1 (YOLO), or wholly outside, cover no pixel: evaluate must say so, not print zeros.
. "$(dirname "$0")/lib.sh"

pic "$T/d/a/1.png" 1; pic "$T/d/b/1.png" 2
dm run "$T/d" --model "$M" --out "$T/r" $Q --clusters 2 --ensemble 1 >/dev/null 2>&1 || exit 2
printf 'image,x,y,w,h\na/1.png,0.1,0.2,0.3,0.4\nb/1.png,0.1,0.1,0.5,0.5\n' > "$T/yolo.csv"
printf 'image,x,y,w,h\na/1.png,1000,1000,50,50\nb/1.png,-500,0,20,20\n' > "$T/out.csv"
for f in yolo out; do
  dm evaluate "$T/r" --boxes "$T/$f.csv" --bootstrap 0 --no-color-baseline --grid-images 0 --json > "$T/o" 2>"$T/e" || continue
  node -e 'const j=JSON.parse(require("fs").readFileSync(process.argv[1]));process.exit(j.notes.some(n=>/cover|outside|no pixel|empty|nothing|normali/i.test(n))?0:1)' "$T/o" || bad "$f.csv: no box covers a pixel, yet: $(grep -o '"boxes":{[^}]*}' "$T/o" | head -1), share $(grep -o '"share":[0-9.]*' "$T/o" | head -1), no note"
done
ok "told"
