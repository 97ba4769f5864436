# What every case begins with. A case is a fault from the field as a script: it cites the public report, says what a user expects, and builds its own input.
#   test/cases/NN-name.sh [PROJECT]    exits 0 where the product behaves, 1 where it misbehaves, 2 where it cannot be tried here
# It runs the built package (bin/diffmine.js). `npm test -- --only cases` runs all of them but those with a line `# Nightly: REASON`, which are for `npm run test:all`.
set -u
P=$(cd "${1:-$(dirname "${BASH_SOURCE[0]}")/../..}" && pwd)
T=$(mktemp -d /tmp/diffmine-case.XXXXXX)
trap 'chmod -R u+rwx "$T" 2>/dev/null; rm -rf "$T"' EXIT
M=$P/test/data/golden/tiny-sd15
Q="--samples 1 --batch 4 --patch 16 --device cpu --threads 1"
export NODE_PATH=$P/node_modules
# diffmine in a process of its own: for cases about its streams, its libraries, its start or its end
own() { (cd "$T" && exec node "$P/bin/diffmine.js" "$@"); }
# diffmine in the process that scripts/cases.mjs keeps for all of them, if it is there
dm() {
  [ -n "${DIFFMINE_CASES_PORT:-}" ] || { own "$@"; return; }
  local code
  { printf '%s\0' "$T" $# "$@"; env -0; printf '\0'; } > "$T/.request"
  exec 9<> "/dev/tcp/127.0.0.1/$DIFFMINE_CASES_PORT" || return
  cat "$T/.request" >&9
  read -r code <&9
  exec 9>&-
  cat "$T/.stdout"
  cat "$T/.stderr" >&2
  return "${code:-1}"
}
# FILE [SEED]: 64 x 64 px of noise, format by the ending; kept, because the cases share them and drawing starts a process
pic() {
  local kept=$P/node_modules/.cache/diffmine/pictures/${2:-1}.${1##*.}
  mkdir -p "$(dirname "$1")" "$(dirname "$kept")"
  if [ ! -e "$kept" ]; then
    node -e 'const [,f,s]=process.argv,n=64*64*3;let x=+s+1;const b=Buffer.from(Array.from({length:n},()=>(x=(x*1103515245+12345)%2147483648)>>>16&255));require("sharp")(b,{raw:{width:64,height:64,channels:3}}).toFile(f).catch(e=>{console.error(e);process.exit(1)})' "$kept.$$.${1##*.}" "${2:-1}" || return
    mv "$kept.$$.${1##*.}" "$kept"
  fi
  cp "$kept" "$1"
}
# its arguments, in npm run test:all alone
nightly() { [ "${DIFFMINE_TEST_ALL:-}" != 1 ] || echo "$@"; }
bad() { echo "MISBEHAVES: $*"; exit 1; }
ok() { echo "ok: $*"; exit 0; }
