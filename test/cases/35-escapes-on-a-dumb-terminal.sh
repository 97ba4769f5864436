#!/usr/bin/env bash
# Public report: TritonDataCenter/smartos-live issue 603, UnkindPartition/tasty PR 393 (TERM=dumb: Emacs shells)
# Expected: a terminal with TERM=dumb has no escape sequences: progress as lines, as off a terminal.
. "$(dirname "$0")/lib.sh"

command -v script >/dev/null || { echo "no script(1)"; exit 2; }
pic "$T/d/a/1.png" 1
TERM=dumb script -qec "cd '$T' && node '$P/bin/diffmine.js' scan '$T/d' --model '$M' --out '$T/r' $Q" "$T/typescript" >/dev/null 2>&1
n=$(grep -o $'\x1b' "$T/typescript" | wc -l)
[ "$n" = 0 ] && ok "none"; bad "$n escape sequences"
