#!/usr/bin/env bash
# Everything that only a machine with a GPU can show, in one command without network or npm: build, C++ tests on the device, memory
# checks, verify in each precision, training and sampling, benchmark. One JSON object on stdout, progress on stderr; exit code 1 if any step failed.
# A step that could not be tried for want of a tool is "skipped" with its reason, never "passed".
#
#   LIBTORCH=folder            a CUDA LibTorch; otherwise the torch of PYTHON (python3)
#   NODE=/path/to/node         for the addon (needs node_modules), verify and bench (need dist/: node scripts/packages.mjs)
#   GOLDEN=folder              what verify checks (default test/data/golden)
#   DOCTEST_INCLUDE=folder     that holds doctest/doctest.h, where it is not installed
#   ARCHITECTURES=90           compute capabilities to compile for (default: the cards here)
#   BUILD=folder               (default build-gpu)     LOGS=folder (default BUILD/logs)
set -u -o pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build-gpu}
logs=${LOGS:-$build/logs}
golden=${GOLDEN:-test/data/golden}
python=${PYTHON:-python3}
node=${NODE:-}
mkdir -p "$logs"

steps=()
failed=0

quote() {  # any text as a JSON string: other control characters are dropped
  printf '"%s"' "$(printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g; s/\t/\\t/g' | tr -d '\000-\010\013-\037' | awk 'NR > 1 { printf "\\n" } { printf "%s", $0 }')"
}

record() {  # name status seconds details [json]
  steps+=("{\"step\":$(quote "$1"),\"status\":\"$2\",\"seconds\":$3,\"details\":$(quote "$4")${5:+,\"result\":$5}}")
  [ "$2" != failed ] || failed=1
  echo "$2  $1  ($3 s)${4:+  $(head -n 1 <<< "$4")}" >&2
}

skip() { record "$1" skipped 0 "$2"; }
fail() { record "$1" failed 0 "$2"; }

# What a log says went wrong, for who reads the JSON alone: the first errors and the end.
ending() { echo "$1 says:"; grep -nE 'ERROR|[Ee]rror:|FAILED|values:' "$1" | head -n 20; echo '...'; tail -n 10 "$1"; }

step() {  # name command...: its log's last lines are the details
  local name=$1 began=$SECONDS log=$logs/$1.log
  shift
  echo "...     $name: $*" >&2
  "$@" > "$log" 2>&1
  local status=$?
  if [ $status -eq 0 ]; then record "$name" passed $((SECONDS - began)) "$(tail -n 3 "$log")"; return 0; fi
  record "$name" failed $((SECONDS - began)) "exit code $status; $(ending "$log")"
  return 1
}

json_step() {  # name command...: its stdout is the result, kept whole even where it fails
  local name=$1 began=$SECONDS out=$logs/$1.json log=$logs/$1.log
  shift
  echo "...     $name: $*" >&2
  "$@" > "$out" 2> "$log"
  local status=$? result
  result=$(cat "$out")
  case $result in '{'*) ;; *) result= ;; esac
  if [ $status -eq 0 ] && [ -n "$result" ]; then record "$name" passed $((SECONDS - began)) '' "$result"; return 0; fi
  record "$name" failed $((SECONDS - began)) "exit code $status; $(ending "$log")" "$result"
  return 1
}

# --- what is here ---
gpu() { nvidia-smi --query-gpu=name,compute_cap,memory.total,driver_version --format=csv,noheader; }
step device gpu
capabilities=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2> /dev/null | tr -d . | sort -u | paste -sd';' -)
architectures=${ARCHITECTURES:-${capabilities:-80;86;89;90}}

libtorch=${LIBTORCH:-}
[ -n "$libtorch" ] || libtorch=$("$python" -c 'import os, torch; print(os.path.dirname(torch.__file__))' 2> "$logs/libtorch.log")
if [ -z "$libtorch" ]; then fail libtorch "LIBTORCH is not set and $python has no torch"
elif [ ! -f "$libtorch/lib/libtorch_cuda.so" ]; then fail libtorch "$libtorch is built without CUDA"
else record libtorch passed 0 "$libtorch"
fi

# --- build ---
doctest=()
[ -z "${DOCTEST_INCLUDE:-}" ] || doctest=("-DDOCTEST_INCLUDE=$DOCTEST_INCLUDE")
with_addon=OFF
[ -n "$node" ] && [ -d node_modules/node-api-headers/include ] && [ -d node_modules/node-addon-api ] && with_addon=ON
generator=()
command -v ninja > /dev/null && generator=(-G Ninja)
jobs=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}
built=no
if [ -f "$libtorch/lib/libtorch_cuda.so" ]; then
  step configure cmake "${generator[@]}" -S . -B "$build" "-DLIBTORCH=$libtorch" -DDIFFMINE_CUDA=ON "-DDIFFMINE_CUDA_ARCHITECTURES=$architectures" \
    "-DDIFFMINE_NODE=$with_addon" "${doctest[@]}" &&
    step build cmake --build "$build" -j "$jobs" && built=yes
else
  skip build 'there is no CUDA LibTorch'
fi

# --- the core on the device ---
tests=$build/diffmine_tests
if [ $built = no ]; then skip tests 'the build failed'
elif [ ! -x "$tests" ]; then fail tests 'doctest was not found: set DOCTEST_INCLUDE'
else
  export DIFFMINE_REQUIRE_GPU=1  # the cases that run on every device fail where they find no GPU
  step tests "$tests"
  if ! command -v compute-sanitizer > /dev/null; then skip compute-sanitizer 'there is no compute-sanitizer on the PATH'
  else
    for tool in memcheck racecheck; do
      step "compute-sanitizer-$tool" compute-sanitizer --tool "$tool" --error-exitcode 9 "$tests" --test-case='kernel *'
    done
  fi
fi

# --- the package on the device ---
if [ -z "$node" ]; then skip addon 'NODE is not set'
elif [ $with_addon = OFF ]; then skip addon 'node_modules has no node-api-headers and node-addon-api'
elif [ $built = no ] || [ ! -f "$build/diffmine.node" ]; then fail addon 'it was not built'
elif [ ! -d dist ]; then fail addon 'there is no dist/: node scripts/packages.mjs'
else
  export DIFFMINE_ADDON=$PWD/$build/diffmine.node
  record addon passed 0 "$DIFFMINE_ADDON"
  json_step doctor "$node" bin/diffmine.js doctor --json
  for precision in fp32 fp16 bf16; do
    json_step "verify-$precision" "$node" bin/diffmine.js verify "$golden" --device cuda --dtype "$precision" --json
  done
  diffmine() { "$node" bin/diffmine.js "$@" --device cuda --json; }

  # Training: twenty steps on the golden pictures; every loss must be finite for them to pass.
  made=$build/trained
  rm -rf "$made"
  train() {  # name options...
    local name=$1
    shift
    json_step "train-$name" diffmine train "$golden/mini-dataset" --out "$made/$name" --steps 20 --batch 8 --sample-every 20 --sample-count 1 --sample-steps 4 "$@"
  }
  if [ ! -d "$golden/mini-dataset" ] || [ ! -d "$golden/tiny-sd15" ]; then skip train "$golden has no mini-dataset and tiny-sd15"
  else
    for precision in fp32 bf16 fp16; do train "$precision" --new tiny --dtype "$precision"; done
    train from --from "$golden/tiny-sd15" --dtype bf16
    train lora --from "$golden/tiny-sd15" --dtype bf16 --lora-rank 4
    train checkpointing --from "$golden/tiny-sd15" --dtype bf16 --gradient-checkpointing
    json_step resume diffmine train --resume --out "$made/fp16" --steps 24

    # Sampling: of classes, of text and latents, and with low-rank updates.
    json_step sample-classes diffmine sample "$made/bf16" --out "$made/sampled-classes" -n 4 --steps 10 --dtype bf16
    json_step sample-text diffmine sample "$golden/tiny-sd15" --label 1920 --out "$made/sampled-text" -n 4 --steps 10 --dtype fp16
    json_step sample-lora diffmine sample "$made/lora" --label 1920 --out "$made/sampled-lora" -n 4 --steps 10
  fi

  json_step bench diffmine bench --precisions fp32,fp16,bf16 --batch "${BENCH_BATCH:-64}"
  json_step bench-training diffmine bench --no-evaluations --training tiny,small,medium,large,model --precisions fp32,fp16,bf16
  # Twenty steps of Stable Diffusion 1.5 at the least, two of them to warm up: do they fit into 24 GB?
  json_step bench-sd15-checkpointing diffmine bench --no-evaluations --training model --precisions bf16 --gradient-checkpointing --repeats 18 &&
    step sd15-below-24GB "$node" -e '
      const { training: [{ measured }] } = JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8"));
      console.log(`peak ${(measured.peakMemory / 1e9).toFixed(2)} GB, ${measured.picturesPerSecond.toFixed(1)} pictures a second`);
      process.exitCode = measured.peakMemory < 24e9 ? 0 : 1;' "$logs/bench-sd15-checkpointing.json"
fi

commit=$(git rev-parse HEAD 2> /dev/null || true)
printf '{"check":"gpu","date":%s,"commit":%s,"libtorch":%s,"architectures":%s,"passed":%s,"steps":[%s]}\n' "$(quote "$(date -u +%FT%TZ)")" \
  "$(quote "$commit")" "$(quote "$libtorch")" "$(quote "$architectures")" "$([ $failed -eq 0 ] && echo true || echo false)" "$(IFS=,; echo "${steps[*]}")"
exit $failed
