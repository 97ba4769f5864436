#!/usr/bin/env bash
# Public report: HumanSignal/label-studio issue 6608, voxel51/fiftyone 3778, jsbroks/coco-annotator 228 (COCO sizes of the unrotated image)
# Expected: COCO says 96 x 64 (stored) of an image that is 64 x 96 upright (EXIF 6), or 500 x 96: `localize` refuses such a file; `evaluate` must refuse or rotate, not stretch boxes.
. "$(dirname "$0")/lib.sh"

cat > "$T/mk.js" <<'E'
const sharp=require('sharp'),fs=require('fs'),T=process.argv[2];
(async()=>{let x=7;for(const l of ['a','b'])for(const i of [0,1]){fs.mkdirSync(`${T}/d/${l}`,{recursive:true});const b=Buffer.from(Array.from({length:96*64*3},()=>(x=(x*1103515245+12345)%2147483648)>>>16&255));
await sharp(b,{raw:{width:96,height:64,channels:3}}).withMetadata({orientation:6}).jpeg({quality:95}).toFile(`${T}/d/${l}/${l}${i}.jpg`);}
const images=['a/a0','a/a1','b/b0','b/b1'].map((n,i)=>({id:i,file_name:n+'.jpg',width:64,height:96}));
const categories=[{id:1,name:'a'},{id:2,name:'b'}];
const annotations=images.map((m,i)=>({id:i,image_id:i,category_id:i<2?1:2,bbox:[0,0,16,96],iscrowd:0,area:1536}));
const put=(f,j)=>fs.writeFileSync(`${T}/${f}`,JSON.stringify(j));
put('good.json',{images,categories,annotations});
put('swapped.json',{images:images.map(m=>({...m,width:96,height:64})),categories,annotations:annotations.map(a=>({...a,bbox:[0,0,24,64]}))});
put('wide.json',{images:images.map(m=>({...m,width:96,height:64})),categories,annotations:annotations.map(a=>({...a,bbox:[72,0,24,32]}))});
put('far.json',{images:images.map(m=>({...m,width:500})),categories,annotations});
put('dup.json',{images:images.map(m=>({...m,id:m.id%2})),categories,annotations:annotations.map(a=>({...a,image_id:a.image_id%2}))});
})();
E
node "$T/mk.js" "$T"
dm scan "$T/d" --model "$M" --out "$T/r" $Q --json > "$T/scan" 2>/dev/null || { cat "$T/scan"; exit 2; }
ev() { dm evaluate "$T/r" --boxes "$T/$1" --bootstrap 0 --no-color-baseline --grid-images 0 --json "${@:2}" 2>/dev/null; }
lo() { dm localize "$T/d" --model "$M" --out "$T/$1.l" --boxes "$T/$1" --samples 1 --batch 4 --device cpu --threads 1 --bootstrap 0 --overlays 0 --json "${@:2}" 2>/dev/null; }
fraction() { grep -o '"fraction":[0-9.]*' "$1" | head -1; }
# sizes of the stored image beside boxes that fit both; of another image; an id twice: refused, by both commands
for f in swapped far dup; do
  ev $f.json > "$T/o" && bad "evaluate takes $f.json and stretches the boxes: $(fraction "$T/o")"
  lo $f.json > "$T/o" && bad "localize takes $f.json: $(fraction "$T/o")"
done
# boxes that fit the stored image alone, or are said to be of it, are turned: 24 x 32 of 96 x 64 px is 0.125, all of 24 x 64 is 0.25
ev wide.json > "$T/o" || bad "evaluate refuses wide.json: $(cat "$T/o")"
[ "$(fraction "$T/o")" = '"fraction":0.125' ] || bad "evaluate of wide.json: $(fraction "$T/o")"
lo wide.json > "$T/o" || bad "localize refuses wide.json: $(cat "$T/o")"
[ "$(fraction "$T/o")" = '"fraction":0.125' ] || bad "localize of wide.json: $(fraction "$T/o")"
ev swapped.json --box-frame stored > "$T/o" || bad "evaluate refuses --box-frame stored: $(cat "$T/o")"
grep -q '"turned":4' "$T/o" || bad "no box was turned: $(grep -o '"boxes":{[^}]*}' "$T/o" | head -1)"
ok "refused, or turned"
