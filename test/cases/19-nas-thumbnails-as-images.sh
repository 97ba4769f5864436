#!/usr/bin/env bash
# Public report: immich-app/immich issue 30690, simulot/immich-go 319, photoview/photoview 430 (Synology @eaDir)
# Expected: @eaDir/NAME/SYNOPHOTO_THUMB_*.jpg are the NAS's thumbnails of the images beside them, not images of the label.
. "$(dirname "$0")/lib.sh"

pic "$T/d/a/1.jpg" 1; pic "$T/d/b/1.jpg" 2; pic "$T/d/a/@eaDir/1.jpg/SYNOPHOTO_THUMB_XL.jpg" 1; pic "$T/d/a/@eaDir/1.jpg/SYNOPHOTO_THUMB_SM.jpg" 1
n=$(dm inspect "$T/d" 2>"$T/e" | awk '$1=="a"{print $2}')
[ "$n" = 1 ] && ok "1 picture"; grep -qi eadir "$T/e" && ok "told"
bad "label a has one picture, $n were counted"
