#!/usr/bin/env bash
# Public report: borgbackup/borg issue 1287, facebook/rocksdb 2929, libgit2/libgit2 5356, syncthing/syncthing 4432, rethinkdb/rethinkdb 2255 (fsync of a directory: EINVAL on CIFS, sshfs, VirtualBox)
# Expected: fsync of a directory that fails with EINVAL is to be ignored (as borg, git and others do): else no run can be written there at all.
. "$(dirname "$0")/lib.sh"

cat > "$T/s.c" <<'E'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
int fsync(int fd) { struct stat st; if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) { errno = atoi(getenv("SYNC_ERRNO")); return -1; } int (*f)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync"); return f(fd); }
E
gcc -shared -fPIC -o "$T/s.so" "$T/s.c" -ldl || exit 2
pic "$T/d/a/1.png" 1
# EINVAL, ENOTSUP, EPERM: no such thing here
for e in 22 $(nightly 95 1); do SYNC_ERRNO=$e LD_PRELOAD="$T/s.so" own scan "$T/d" --model "$M" --out "$T/r$e" $Q > "$T/o" 2>&1 || bad "errno $e: $(tail -2 "$T/o" | tr '\n' ' ')"; done
# EIO: the disk fails, which is an error
SYNC_ERRNO=5 LD_PRELOAD="$T/s.so" own scan "$T/d" --model "$M" --out "$T/r5" $Q > "$T/o" 2>&1
[ $? = 5 ] || bad "EIO was not an error of exit code 5: $(tail -2 "$T/o" | tr '\n' ' ')"
ok "scanned"
