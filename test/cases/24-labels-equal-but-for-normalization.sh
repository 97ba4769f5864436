#!/usr/bin/env bash
# Public report: renpy/renpy PR 2327, doublecmd/doublecmd PR 2747, Garmelon/PFERD PR 141 (NFC and NFD names)
# Expected: A class model knows "Köln" (NFC); folders from a Mac are NFD: the message must tell what differs. Two folders equal but for normalization: say so.
. "$(dirname "$0")/lib.sh"

node -e 'const fs=require("fs"),[,src,dst]=process.argv;fs.cpSync(src,dst,{recursive:true});const f=dst+"/model_index.json",j=JSON.parse(fs.readFileSync(f));j.id2label={0:"K\u00f6ln",1:"Z\u00fcrich",2:"c",3:"d",4:"e",5:"f"};fs.writeFileSync(f,JSON.stringify(j))' "$P/demo/model" "$T/m" || exit 2
nfd=$(node -p '"K\u00f6ln".normalize("NFD")'); nfc=$(node -p '"K\u00f6ln"')
pic "$T/d/$nfd/1.png" 1
dm scan "$T/d" --model "$T/m" --out "$T/r" $Q > "$T/o" 2>&1 || grep -qiE 'NFC|NFD|normali|Unicode|compos' "$T/o" || bad "$(tr '\n' ' ' < "$T/o")"
pic "$T/e/$nfd/1.png" 1; pic "$T/e/$nfc/1.png" 2
dm scan "$T/e" --model "$M" --out "$T/r2" $Q > "$T/o" 2>&1; grep -qiE 'NFC|NFD|normali|Unicode|alike|same' "$T/o" || bad "two labels that look the same, and no warning"
ok "told"
