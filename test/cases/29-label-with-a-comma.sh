#!/usr/bin/env bash
# Public report: furqanZafar/react-selectize issue 81 (labels with commas); place names such as "Paris, Texas"
# Expected: localize --labels takes names with commas between: a label that holds one cannot be chosen (sample --labels and translate --to can be repeated).
. "$(dirname "$0")/lib.sh"

pic "$T/d/Paris, Texas/1.png" 1; pic "$T/d/Rome/1.png" 2
dm localize "$T/d" --model "$M" --out "$T/r" --labels 'Paris, Texas' --samples 1 --batch 4 --device cpu --threads 1 > "$T/o" 2>&1 && ok "mapped"
bad "$(tr '\n' ' ' < "$T/o")"
