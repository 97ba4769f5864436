#!/usr/bin/env bash
# Public report: lovell/sharp issues 283, 1542 (missing and unreadable files called "unsupported image format")
# Expected: An image that may not be read is skipped for that reason, not for its format.
. "$(dirname "$0")/lib.sh"

pic "$T/d/a/1.png" 1; pic "$T/d/a/2.png" 2; chmod 000 "$T/d/a/1.png"
run=(dm); [ "$(id -u)" = 0 ] && { command -v setpriv >/dev/null || ok "root without setpriv: cannot be tried"; run=(setpriv --inh-caps=-all --bounding-set=-all node "$P/bin/diffmine.js"); }
"${run[@]}" scan "$T/d" --model "$M" --out "$T/r" $Q > "$T/o" 2>&1
grep -qiE 'permission|EACCES|denied' "$T/o" && ok "named"
bad "$(grep skipped "$T/o" | head -1)"
