#!/usr/bin/env bash
# Public report: HumanSignal/label-studio issue 6608, voxel51/fiftyone 3778, jsbroks/coco-annotator 228 (COCO sizes of the unrotated picture)
# Expected: COCO says 96 x 64 (stored) of a picture that is 64 x 96 upright (EXIF 6), or 500 x 96: `localize` refuses such a file; `evaluate` must refuse or rotate, not stretch boxes.
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
put('far.json',{images:images.map(m=>({...m,width:500})),categories,annotations});
put('dup.json',{images:images.map(m=>({...m,id:m.id%2})),categories,annotations:annotations.map(a=>({...a,image_id:a.image_id%2}))});
})();
E
node "$T/mk.js" "$T"
dm scan "$T/d" --model "$M" --out "$T/r" $Q --json > "$T/scan" 2>/dev/null || { cat "$T/scan"; exit 2; }
ev() { dm evaluate "$T/r" --boxes "$T/$1" --bootstrap 0 --no-colour --per-label 0 --json 2>/dev/null; }
for f in swapped far; do ev $f.json > "$T/$f.out" && bad "evaluate takes $f.json (frame of other proportions than the picture) and stretches the boxes: $(grep -o '"share":[0-9.]*' "$T/$f.out" | head -1)"; done
ok "refused"
