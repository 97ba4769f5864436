#!/usr/bin/env bash
# Public report: jsbroks/coco-annotator issue 486, cvat-ai/cvat 1385, open-edge-platform/geti 7496 (file_name without its folder, same names in several folders)
# Expected: A COCO file_name without folder that is the name of several images must not put one box into all of them silently.
. "$(dirname "$0")/lib.sh"

pic "$T/d/a/1.png" 1; pic "$T/d/b/1.png" 2
dm scan "$T/d" --model "$M" --out "$T/r" $Q >/dev/null 2>&1 || exit 2
echo '{"images":[{"id":1,"file_name":"1.png","width":64,"height":64}],"categories":[{"id":1,"name":"a"}],"annotations":[{"id":1,"image_id":1,"category_id":1,"bbox":[0,0,32,32]}]}' > "$T/c.json"
dm evaluate "$T/r" --boxes "$T/c.json" --bootstrap 0 --no-color-baseline --grid-images 0 --json > "$T/o" 2>/dev/null || ok "refused: $(head -c 200 "$T/o")"
node -e 'const j=JSON.parse(require("fs").readFileSync(process.argv[1]));console.log(JSON.stringify(j.boxes),JSON.stringify(j.notes));process.exit(j.boxes.used<=j.boxes.rows||j.notes.some(n=>/several|ambig|both|same name|two pictures/i.test(n))?0:1)' "$T/o" && ok "told or used once"
bad "one box is used in two pictures (a/1.png and b/1.png)"
