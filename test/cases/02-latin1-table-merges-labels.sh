#!/usr/bin/env bash
# Public report: tensorflow/models issue 11119, flairNLP/flair 1054 (tables that are not UTF-8); datasets/corruption-perceptions-index PR 15
# Expected: Bytes that are no UTF-8 must not silently become U+FFFD: two labels would become one.
. "$(dirname "$0")/lib.sh"

pic "$T/1.png" 1; pic "$T/2.png" 2
printf 'image,label\n1.png,Z\xfcrich\n2.png,Z\xf6rich\n' > "$T/t.csv"
dm inspect "$T/t.csv" --encoding windows-1252 > "$T/o" 2>&1; grep -q '^Zürich' "$T/o" && grep -q '^Zörich' "$T/o" || bad "--encoding windows-1252 does not read it: $(cat "$T/o" | head -c 300)"
dm inspect "$T/t.csv" --json > "$T/o" 2>"$T/e" || ok "refused: $(head -c 200 "$T/o")"
n=$(node -e 'const j=JSON.parse(require("fs").readFileSync(process.argv[1]));const l=j.labels??j.dataset?.labels;console.log(Array.isArray(l)?l.length:Object.keys(l).length)' "$T/o")
[ "$n" = 2 ] || bad "two labels (Windows-1252) became $n: $(cat "$T/o" | head -c 300)"
grep -q $'\xef\xbf\xbd' "$T/o" && [ ! -s "$T/e" ] && bad "labels hold U+FFFD and nothing says so"
ok "told or kept apart"
