#!/usr/bin/env bash
# Public report: apple/turicreate issue 1528, kitzeslab/opensoundscape 1, roboflow/supervision 1641 (labels that differ by case)
# Expected: Labels whose prompts have the same tokens (Paris, paris; NFC and NFD; a space more) are one condition to a text model: say so. With --against others their typicality is exactly 0.
. "$(dirname "$0")/lib.sh"

pic "$T/n/Photo/1.png" 1; pic "$T/n/car/1.png" 1
dm scan "$T/n" --model "$M" --out "$T/rn" $Q --null-prompt photo > "$T/o" 2>&1 && bad "the label Photo is scored against the null prompt photo: $(tr '\n' ' ' < "$T/o")"
grep -q Photo "$T/o" || bad "the label that is the null prompt is not named: $(tr '\n' ' ' < "$T/o")"
for l in Paris paris; do pic "$T/d/$l/1.png" 1; done
dm scan "$T/d" --model "$M" --out "$T/r" $Q --against others > "$T/o" 2>&1 || ok "refused: $(tail -2 "$T/o" | head -1)"
grep -vE '^(Scored|Scanning|The scan is)' "$T/o" | grep -q . && ok "told: $(grep -vE '^(Scored|Scanning|The scan is)' "$T/o" | head -1)"
dm export "$T/r" --table images --format csv | cut -d, -f1,8 | tr -d '\r' | tr '\n' ' ' > "$T/x"
bad "two labels with one and the same prompt, no warning: $(cat "$T/x")"
