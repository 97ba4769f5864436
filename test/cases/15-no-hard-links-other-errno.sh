#!/usr/bin/env bash
# Public report: termux/termux-packages issues 21167 and 25880 (link: EACCES on Android); JustinTulloss/zeromq.node PR 90, npm/npm 12733 (VirtualBox shared folders: EPROTO)
# Expected: link() that is refused with EACCES or EPROTO where files can be made: fall back as for EPERM and ENOTSUP.
. "$(dirname "$0")/lib.sh"

cat > "$T/s.c" <<'E'
#include <errno.h>
#include <stdlib.h>
int link(const char *a, const char *b) { (void)a; (void)b; errno = atoi(getenv("LINK_ERRNO")); return -1; }
E
gcc -shared -fPIC -o "$T/s.so" "$T/s.c" || exit 2
pic "$T/d/a/1.png" 1
for e in 13 $(nightly 1 71 18 38 95); do LINK_ERRNO=$e LD_PRELOAD="$T/s.so" own scan "$T/d" --model "$M" --out "$T/r$e" $Q > "$T/o" 2>&1 || bad "errno $e: $(tail -1 "$T/o")"; done
ok "scanned"
