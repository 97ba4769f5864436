#!/usr/bin/env bash
# Public report: ultralytics/ultralytics issue 8837, fastai/fastai 2336 (train/ val/ test/ above the class folders)
# Expected: A folder with train/, val/ and test/, the same class folders in each: say that train, val and test became the labels (the product knows this layout: with --preset geo it reads train/).
. "$(dirname "$0")/lib.sh"

for s in train val test; do for l in cat dog; do pic "$T/d/$s/$l/1.png" 1; done; done
dm scan "$T/d" --model "$M" --out "$T/r" $Q > "$T/o" 2>&1 || ok "refused"
grep -qiE 'split|looks like|train/' "$T/o" && ok "told"
node -e 'const l=require(process.argv[1]).dataset.labels;process.exit(l.includes("cat")?0:1)' "$T/r/manifest.json" && ok "classes are labels"
bad "labels are test, train, val; cats and dogs are mixed, and nothing says so"
