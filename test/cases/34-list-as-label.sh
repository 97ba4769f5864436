#!/usr/bin/env bash
# Public report: hearbenchmark/hear-eval-kit issue 124, IBM/unitxt PR 419 (labels as JSON lists)
# Expected: {"label": ["a", "b"]} in JSONL: two labels (A|B), or an error; not one label whose name and prompt are the JSON text.
. "$(dirname "$0")/lib.sh"

pic "$T/1.png" 1
printf '{"image":"1.png","label":["a","b"]}\n' > "$T/t.jsonl"
dm inspect "$T/t.jsonl" --json > "$T/o" 2>/dev/null || ok "refused"
grep -qF '[\"a\",\"b\"]' "$T/o" && bad "$(grep -o '"labels":.*"bytes"' "$T/o")"
grep -qF '"label":"a|b"' "$T/o" || bad "not a|b: $(cat "$T/o" | head -c 300)"
ok "split"
