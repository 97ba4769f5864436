#!/usr/bin/env bash
# Public report: duckdb/duckdb issue 10543, 3685 (made names that meet existing ones)
# Expected: A column `width` is carried as `input_width`; where the table has that too (diffmine's own export of such a run does), neither may be lost.
. "$(dirname "$0")/lib.sh"

pic "$T/1.png" 1; pic "$T/2.png" 2
printf 'image,label,width,input_width\n1.png,a,64,999\n2.png,b,64,998\n' > "$T/t.csv"
dm scan "$T/t.csv" --model "$M" --out "$T/r" $Q > "$T/o" 2>&1 || ok "refused: $(tail -1 "$T/o")"
dm export "$T/r" --table images --format csv > "$T/i.csv"
grep -q 999 "$T/i.csv" && ok "kept"
bad "the values of input_width are gone: $(head -2 "$T/i.csv" | tr -d '\r' | tr '\n' ' ')"
