# What every case begins with. A case is a fault from the field as a script: it cites the public report, says what a user expects, and builds its own input.
#   test/cases/NN-name.sh [PROJECT]    exits 0 where the product behaves, 1 where it misbehaves, 2 where it cannot be tried here
# It runs the built package (bin/diffmine.js). `npm test -- --only cases` runs all of them.
set -u
P=$(cd "${1:-$(dirname "${BASH_SOURCE[0]}")/../..}" && pwd)
T=$(mktemp -d /tmp/diffmine-case.XXXXXX)
trap 'chmod -R u+rwx "$T" 2>/dev/null; rm -rf "$T"' EXIT
M=$P/test/data/golden/tiny-sd15
Q="--samples 1 --batch 4 --patch 16 --device cpu --threads 1"
export NODE_PATH=$P/node_modules
dm() { (cd "$T" && exec node "$P/bin/diffmine.js" "$@"); }
pic() { # FILE [SEED]: 64 x 64 px of noise, format by the ending
  mkdir -p "$(dirname "$1")"
  node -e 'const [,f,s]=process.argv,n=64*64*3;let x=+s+1;const b=Buffer.from(Array.from({length:n},()=>(x=(x*1103515245+12345)%2147483648)>>>16&255));require("sharp")(b,{raw:{width:64,height:64,channels:3}}).toFile(f).catch(e=>{console.error(e);process.exit(1)})' "$1" "${2:-1}"
}
bad() { echo "MISBEHAVES: $*"; exit 1; }
ok() { echo "ok: $*"; exit 0; }
