#!/usr/bin/env bash
# Public report: coreybutler/node-linux issue 17, log4js-node/log4js-node 929, telefonicaid/perseo-fe 27
# Expected: Progress lines that cannot be written (2> on a full disk) must not end the work.
. "$(dirname "$0")/lib.sh"

[ -w /dev/full ] || ok "no /dev/full here"
for i in 1 2 3; do pic "$T/d/a/$i.png" $i; done
dm scan "$T/d" --model "$M" --out "$T/r" $Q --json > "$T/o" 2> /dev/full; rc=$?
[ $rc = 0 ] && ok "scanned"
bad "exit $rc, $(ls "$T/r/shards" 2>/dev/null | wc -l) shards done"
