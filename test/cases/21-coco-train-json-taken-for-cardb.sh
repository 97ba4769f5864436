#!/usr/bin/env bash
# Public report: Iywie/pl_YOLO issue 1, rwightman/efficientdet-pytorch 22 (COCO lists named train.json beside the folders of images)
# Expected: train.json that is a COCO file beside train/ (label folders, and a stray image) is not CarDB: without --preset cars it must be read as label folders, or the message must say why and how to avoid it.
. "$(dirname "$0")/lib.sh"

for l in cat dog; do pic "$T/d/train/$l/1.png" 1; done; pic "$T/d/train/contact-sheet.png" 3
echo '{"images":[],"annotations":[],"categories":[]}' > "$T/d/train.json"
dm inspect "$T/d" > "$T/o" 2>&1 && ok "read"
bad "$(tr '\n' ' ' < "$T/o")"
