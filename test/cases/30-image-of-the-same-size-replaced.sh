#!/usr/bin/env bash
# Public report: ruven/iipsrv issue 135, xarray-contrib/xarray-spatial PR 1506, nomacs/nomacs 1635 (caches that go by name and size)
# Expected: An image replaced by another of the same number of bytes (uncompressed TIFF): the run that is there is stale; say so.
. "$(dirname "$0")/lib.sh"

mk() { node -e 'const [,f,v]=process.argv;require("sharp")({create:{width:64,height:64,channels:3,background:{r:+v,g:+v,b:+v}}}).tiff({compression:"none"}).toFile(f)' "$1" "$2"; }
mkdir -p "$T/d/a"; mk "$T/d/a/1.tif" 20; mk "$T/d/a/2.tif" 90
dm scan "$T/d" --model "$M" --out "$T/r" $Q >/dev/null 2>&1 || exit 2
sleep 1; mk "$T/d/a/1.tif" 220
dm scan "$T/d" --model "$M" --out "$T/r" $Q > "$T/o" 2>&1 || ok "refused: $(tail -2 "$T/o" | head -1)"
grep -qiE 'changed|newer|modified' "$T/o" && ok "told"
bad "$(head -1 "$T/o")"
