#!/usr/bin/env bash
# Public report: sharkdp/fd issue 737, nodejs/node 43271 (/dev/full)
# Expected: A result that cannot be written is an IO error: one sentence, exit code 5 (docs/reference/errors.md), no stack of Node.
# Nightly: test/cli/streams.test.ts does the same in npm test.
. "$(dirname "$0")/lib.sh"

[ -w /dev/full ] || ok "no /dev/full here"
pic "$T/d/a/1.png" 1
for command in "inspect $T/d --json" "inspect $T/d" "--help" "scan --help" "--version"; do
  own $command > /dev/full 2> "$T/e"; rc=$?
  { [ $rc = 5 ] && ! grep -q "node:fs\|Node.js v" "$T/e" && grep -q "^error: " "$T/e"; } || bad "$command: exit $rc: $(grep -m2 -E 'throw error|ENOSPC' "$T/e" | tr '\n' ' ')"
done
own inspect "$T/d" 1< /dev/null 2> "$T/e"; rc=$?
[ $rc = 5 ] || bad "a stdout opened for reading: exit $rc"
(trap '' XFSZ; ulimit -f 1; own --help > "$T/part" 2> "$T/e"); rc=$?
[ $rc = 5 ] || bad "a disk that filled up midway: exit $rc, $(wc -c < "$T/part") bytes written"
own --help | true; rc=${PIPESTATUS[0]}
[ $rc = 0 ] || bad "a reader that left: exit $rc"
ok "exit 5"
