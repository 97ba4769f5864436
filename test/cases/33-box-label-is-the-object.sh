#!/usr/bin/env bash
# Public report: fizyr/keras-retinanet issue 99, airctic/icevision 190 (CSV rows with the class of each box)
# Expected: image,label,x,y,w,h with label = wheel, door: evaluate must say that the labels are not those of the images, not that no box is in an image, naming an image that the file names.
. "$(dirname "$0")/lib.sh"

pic "$T/d/a/1.png" 1; pic "$T/d/b/1.png" 2
dm scan "$T/d" --model "$M" --out "$T/r" $Q >/dev/null 2>&1 || exit 2
printf 'image,label,x,y,w,h\na/1.png,wheel,0,0,20,20\nb/1.png,door,5,5,20,20\n' > "$T/b.csv"
dm evaluate "$T/r" --boxes "$T/b.csv" --bootstrap 0 --no-color-baseline --grid-images 0 > "$T/o" 2>&1 && ok "used"
grep -qiE 'label|wheel' "$T/o" && ok "told"
bad "$(tr '\n' ' ' < "$T/o")"
