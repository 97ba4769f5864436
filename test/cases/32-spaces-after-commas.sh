#!/usr/bin/env bash
# Public report: fastai/fastai PR 937 (food-101 labels.csv), afimb/gtfslib-python 19, tulsawebdevs/django-multi-gtfs PR 68
# Expected: "image, label" with a space after each comma: the header is trimmed, so the table is taken; then the values must be trimmed too, or the spaces told: now " a" and "a" are two labels.
. "$(dirname "$0")/lib.sh"

pic "$T/1.png" 1; pic "$T/2.png" 2
printf 'image, label\n1.png, a\n2.png,a\n' > "$T/t.csv"
dm inspect "$T/t.csv" --json > "$T/o" 2>"$T/e" || ok "refused: $(head -c 200 "$T/o")"
n=$(node -e 'console.log(JSON.parse(require("fs").readFileSync(process.argv[1])).labels.length)' "$T/o")
[ "$n" = 1 ] && ok "one label"; grep -q '"warnings":\[\]' "$T/o" || ok "told"
bad "$n labels: $(grep -o '"labels":\[[^]]*\]' "$T/o")"
