#!/usr/bin/env bash
# Public report: rescuezilla/rescuezilla issue 667, navidrome/navidrome 328, ukdtom/Plex-FindUnmatched 89 (lost+found at the root of a disk)
# Expected: A dataset at the root of an ext4 disk has lost+found, which only root may read: skip it with a warning.
. "$(dirname "$0")/lib.sh"

pic "$T/d/a/1.png" 1; pic "$T/d/b/1.png" 2; mkdir "$T/d/lost+found" "$T/d/b/private"; chmod 000 "$T/d/lost+found" "$T/d/b/private"
run=(dm); [ "$(id -u)" = 0 ] && { command -v setpriv >/dev/null || ok "root without setpriv: cannot be tried"; run=(setpriv --inh-caps=-all --bounding-set=-all node "$P/bin/diffmine.js"); }
"${run[@]}" inspect "$T/d" > "$T/o" 2>&1 || bad "$(head -1 "$T/o")"
grep -q "b/private.*permission denied" "$T/o" || bad "nothing says that b/private could not be read"
ok "read"
