#!/usr/bin/env bash
# Public report: huggingface/diffusers PR 357 (textual inversion adds its token with tokenizer.add_tokens); PR 3188
# Expected: A text model whose tokenizer has an added token (added_tokens.json, tokenizer_config.json) must encode it as that one id, as transformers does, or be refused.
. "$(dirname "$0")/lib.sh"

cat > "$T/mk.js" <<'E'
const fs=require('fs'),[,,src,dst,scale]=process.argv;
fs.cpSync(src,dst,{recursive:true});
const f=dst+'/text_encoder/model.safetensors',b=fs.readFileSync(f),n=Number(b.readBigUInt64LE(0)),h=JSON.parse(b.subarray(8,8+n)),d=b.subarray(8+n);
const key=Object.keys(h).find(k=>k.endsWith('token_embedding.weight')),[v,w]=h[key].shape;
const row=Buffer.alloc(4*w);for(let i=0;i<w;i++)row.writeFloatLE(scale*Math.sin(i+1),4*i);
let off=0;const out={},parts=[];
for(const [k,t] of Object.entries(h)){if(k==='__metadata__')continue;let x=d.subarray(...t.data_offsets),shape=t.shape;if(k===key){x=Buffer.concat([x,row]);shape=[v+1,w];}out[k]={dtype:t.dtype,shape,data_offsets:[off,off+x.length]};off+=x.length;parts.push(x);}
const s=Buffer.from(JSON.stringify(out)),l=Buffer.alloc(8);l.writeBigUInt64LE(BigInt(s.length));fs.writeFileSync(f,Buffer.concat([l,s,...parts]));
const edit=(p,g)=>{const j=JSON.parse(fs.readFileSync(p));g(j);fs.writeFileSync(p,JSON.stringify(j));};
edit(dst+'/text_encoder/config.json',j=>{j.vocab_size=v+1;});
fs.writeFileSync(dst+'/tokenizer/added_tokens.json',JSON.stringify({'<cat-toy>':v}));
edit(dst+'/tokenizer/tokenizer_config.json',j=>{j.added_tokens_decoder={[v]:{content:'<cat-toy>',special:false,lstrip:false,rstrip:false,normalized:true,single_word:false}};});
E
pic "$T/d/a/1.png" 1; pic "$T/d/b/1.png" 2
for s in 0.01 50; do
  node "$T/mk.js" "$M" "$T/m$s" $s
  dm scan "$T/d" --model "$T/m$s" --out "$T/r$s" $Q --prompt 'a photo of <cat-toy> {label}' --null-prompt '' >"$T/log$s" 2>&1 || ok "refused: $(tail -2 "$T/log$s" | head -1)"
  dm export "$T/r$s" --table images --format csv > "$T/$s.csv"
done
cmp -s "$T/0.01.csv" "$T/50.csv" && bad "two models that differ only in the added token's embedding give the same scores: the token is not used"
ok "the added token is used"
