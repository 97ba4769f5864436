#!/usr/bin/env bash
# Public report: nodejs/node issue 7923, aws/aws-cdk 20211 (manifest.json); Places365-Challenge has 8 million images, some 580 million characters of manifest
# Expected: A run of very many images must work, or be refused with a sentence; not INTERNAL "Invalid string length". (Long names stand in for many images here; takes about a minute.)
# Nightly: it lists 900,000 images.
. "$(dirname "$0")/lib.sh"

L=$(printf 'l%.0s' {1..200}); S=$(printf 's%.0s' {1..195})
pic "$T/d/$L/real/p0000.png" 1
for i in $(seq -f %04g 1 999); do ln "$T/d/$L/real/p0000.png" "$T/d/$L/real/p$i.png"; done
for i in $(seq -f %04g 1 900); do ln -s real "$T/d/$L/$S$i"; done
dm scan "$T/d" --model "$M" --out "$T/r" $Q --shard 0/14000 --json > "$T/o" 2>"$T/e"; rc=$?
grep -q INTERNAL "$T/o" && bad "exit $rc: $(head -c 200 "$T/o")"
ok "exit $rc: $(head -c 120 "$T/o")"
