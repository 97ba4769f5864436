#!/usr/bin/env bash
# Public report: lovell/sharp issue 3929, libvips/libvips 1545 and 3621 (TIFF of floats in 0 ... 1)
# Expected: A 32-bit float TIFF of 0 ... 1 (and whole numbers of 32 bits) must not be scored as an all-black image without a word: convert or skip.
. "$(dirname "$0")/lib.sh"

node -e 'const W=64,H=64,d=Buffer.alloc(4*W*H);for(let i=0;i<W*H;i++)d.writeFloatLE((i%W)/(W-1),4*i);const t=[[256,4,W],[257,4,H],[258,3,32],[259,3,1],[262,3,1],[273,4,134],[277,3,1],[278,4,H],[279,4,d.length],[339,3,3]];const b=Buffer.alloc(134);b.write("II*\0","latin1");b.writeUInt32LE(8,4);b.writeUInt16LE(t.length,8);t.forEach(([a,ty,v],i)=>{const o=10+12*i;b.writeUInt16LE(a,o);b.writeUInt16LE(ty,o+2);b.writeUInt32LE(1,o+4);b.writeUInt32LE(v,o+8)});require("fs").mkdirSync(process.argv[1]+"/d/a",{recursive:true});require("fs").writeFileSync(process.argv[1]+"/d/a/f.tif",Buffer.concat([b,d]))' "$T"
pic "$T/d/a/1.png" 1
dm run "$T/d" --model "$M" --out "$T/r" $Q --clusters 2 --ensemble 1 > "$T/o" 2>&1
grep -q 'skipped a/f.tif' "$T/o" && ok "skipped"
m=$(node -e 'const {readImage}=require(process.argv[1]+"/dist/data");readImage(process.argv[2],{size:"source",rule:"floor",multiple:1,patch:16}).then(p=>console.log(Math.max(...p.pixels)))' "$P" "$T/d/a/f.tif")
[ "$m" -gt 200 ] && ok "brightest pixel $m"
bad "a ramp from black to white was scored with its brightest pixel at $m of 255, not skipped, not told"
