#!/usr/bin/env bash
# Public report: coreybutler/node-linux issue 17, log4js-node/log4js-node 929, telefonicaid/perseo-fe 27
# Expected: Progress lines that cannot be written (2> on a full disk) must not end the work.
. "$(dirname "$0")/lib.sh"

[ -w /dev/full ] || ok "no /dev/full here"
for i in 1 2 3; do pic "$T/d/a/$i.png" $i; done
n=0
# two workers with a full stderr: test/cli/streams.test.ts
for workers in 1 $(nightly 2); do
  for log in /dev/full closed pipe; do
    n=$((n + 1)); scan="scan $T/d --model $M --out $T/r$n $Q --shard-size 1 --workers $workers -v --json"
    case $log in
      closed) own $scan > "$T/o" 2>&-; rc=$? ;;
      pipe) own $scan > "$T/o" 2> >(true); rc=$? ;;
      *) own $scan > "$T/o" 2> $log; rc=$? ;;
    esac
    { [ $rc = 0 ] && grep -q '"complete":true' "$T/o"; } || bad "$workers workers, stderr $log: exit $rc, $(ls "$T/r$n/shards" 2>/dev/null | wc -l) shards done"
  done
done
ok "scanned"
