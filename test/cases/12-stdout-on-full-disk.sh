#!/usr/bin/env bash
# Public report: sharkdp/fd issue 737, nodejs/node 43271 (/dev/full)
# Expected: A result that cannot be written is an IO error: one sentence, exit code 5 (docs/errors.md), no stack of Node.
. "$(dirname "$0")/lib.sh"

[ -w /dev/full ] || ok "no /dev/full here"
pic "$T/d/a/1.png" 1
dm inspect "$T/d" --json > /dev/full 2> "$T/e"; rc=$?
[ $rc = 5 ] && ! grep -q "node:fs\|Node.js v" "$T/e" && ok "exit 5: $(head -1 "$T/e")"
bad "exit $rc (1 means CHECK_FAILED): $(grep -m2 -E 'throw error|ENOSPC' "$T/e" | tr '\n' ' ')"
