#!/usr/bin/env bash
# Public report: borgbackup/borg issue 1287, facebook/rocksdb 2929, libgit2/libgit2 5356, syncthing/syncthing 4432, rethinkdb/rethinkdb 2255 (fsync of a directory: EINVAL on CIFS, sshfs, VirtualBox)
# Expected: fsync of a directory that fails with EINVAL is to be ignored (as borg, git and others do): else no run can be written there at all.
. "$(dirname "$0")/lib.sh"

cat > "$T/s.c" <<'E'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/stat.h>
int fsync(int fd) { struct stat st; if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) { errno = EINVAL; return -1; } int (*f)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync"); return f(fd); }
E
gcc -shared -fPIC -o "$T/s.so" "$T/s.c" -ldl || exit 2
pic "$T/d/a/1.png" 1
LD_PRELOAD="$T/s.so" dm scan "$T/d" --model "$M" --out "$T/r" $Q > "$T/o" 2>&1 && ok "scanned"
bad "$(tail -2 "$T/o" | tr '\n' ' ')"
