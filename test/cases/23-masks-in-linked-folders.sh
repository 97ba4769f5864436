#!/usr/bin/env bash
# Public report: nodejs/node readdir recursive follows no links; datalad/datalad 2747 (linked data)
# Expected: Label folders that are links are followed in a dataset; mask folders that are links must be too, or be named.
. "$(dirname "$0")/lib.sh"

pic "$T/d/a/1.png" 1; pic "$T/real/a/1.png" 5; mkdir "$T/masks"; ln -s ../real/a "$T/masks/a"
dm localize "$T/d" --model "$M" --out "$T/r" --boxes "$T/masks" --samples 1 --batch 4 --device cpu --threads 1 > "$T/o" 2>&1 && ok "found"
grep -qi link "$T/o" && ok "told"
bad "$(head -1 "$T/o")"
