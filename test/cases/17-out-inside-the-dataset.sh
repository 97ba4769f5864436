#!/usr/bin/env bash
# Public report: thumbsup/thumbsup and lxde/libfm PR 28 (outputs taken for inputs on the next run); mdbloice/Augmentor 71
# Expected: --out inside the dataset: refuse it, or keep the folder out of the dataset. Now the same command cannot resume the run, and the next run mines the report's own sprites as a label.
. "$(dirname "$0")/lib.sh"

for l in a b; do for i in 1 2; do pic "$T/d/$l/$i.png" $i; done; done
dm run "$T/d" --model "$M" --out "$T/d/run" $Q --clusters 2 --ensemble 1 > "$T/o" 2>&1 || ok "refused: $(tail -2 "$T/o" | head -1)"
dm inspect "$T/d" 2>/dev/null | grep -q '^run ' && L="; inspect now lists a label 'run' of $(dm inspect "$T/d" 2>/dev/null | awk '$1=="run"{print $2}') images" || L=
dm run "$T/d" --model "$M" --out "$T/d/run" $Q --clusters 2 --ensemble 1 > "$T/o" 2>&1 || bad "the same command again: $(grep error "$T/o")$L"
[ -z "$L" ] || bad "$L"
ok "resumes"
