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
#   PEER_PYTHON=python         one with torch and diffusers (default PYTHON): peers and the reference's loop
#   STEP_MINUTES=30            at most for any one step: what takes longer is stopped, and has failed
#   BENCH_MINUTES=14           all benchmarks together; what is left undone when they are over is "skipped". With the build about 25 minutes
set -u -o pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build-gpu}
logs=${LOGS:-$build/logs}
golden=${GOLDEN:-test/data/golden}
python=${PYTHON:-python3}
node=${NODE:-}
peer=${PEER_PYTHON:-$python}
mkdir -p "$logs"

steps=()
failed=0

# A compiler's log may hold bytes that are no UTF-8, and JSON may not.
utf8() { if command -v iconv > /dev/null; then iconv -c -f UTF-8 -t UTF-8 2> /dev/null || true; else cat; fi; }

quote() {  # any text as a JSON string: other control characters are dropped
  printf '"%s"' "$(printf '%s' "$1" | utf8 | sed 's/\\/\\\\/g; s/"/\\"/g; s/\t/\\t/g' | tr -d '\000-\010\013-\037' | awk 'NR > 1 { printf "\\n" } { printf "%s", $0 }')"
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

patience=$((60 * ${STEP_MINUTES:-30}))  # --foreground: Ctrl-C reaches what runs

# What a step wrote to stdout, on one line, if it is one whole JSON object; nothing otherwise.
whole_json() {
  "$node" -e 'const value = JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8"));
    if (typeof value === "object" && value !== null && !Array.isArray(value)) console.log(JSON.stringify(value));' "$1" 2> /dev/null
}

step() {  # name command...: its log's last lines are the details
  local name=$1 began=$SECONDS log=$logs/$1.log
  shift
  echo "...     $name: $*" >&2
  timeout --foreground -k 10 "$patience" "$@" > "$log" 2>&1
  local status=$?
  if [ $status -eq 0 ]; then record "$name" passed $((SECONDS - began)) "$(tail -n 3 "$log")"; return 0; fi
  record "$name" failed $((SECONDS - began)) "exit code $status; $(ending "$log")"
  return 1
}

json_step() {  # name command...: its stdout is the result, kept whole even where it fails
  local name=$1 began=$SECONDS out=$logs/$1.json log=$logs/$1.log
  shift
  echo "...     $name: $*" >&2
  timeout --foreground -k 10 "$patience" "$@" > "$out" 2> "$log"
  local status=$? result
  result=$(whole_json "$out")
  if [ $status -eq 0 ] && [ -n "$result" ]; then record "$name" passed $((SECONDS - began)) '' "$result"; return 0; fi
  record "$name" failed $((SECONDS - began)) "exit code $status; $(ending "$log")" "$result"
  return 1
}

bench_ends=
bench_step() {  # name seconds command...: as json_step, but for so many seconds at most, and none after BENCH_MINUTES
  local name=$1 limit=$2 own=$2 began=$SECONDS
  shift 2
  bench_ends=${bench_ends:-$((SECONDS + 60 * ${BENCH_MINUTES:-14}))}
  [ $((bench_ends - SECONDS)) -ge "$limit" ] || limit=$((bench_ends - SECONDS))
  if [ "$limit" -lt 10 ]; then skip "$name" 'BENCH_MINUTES are over'; return 1; fi
  echo "...     $name (at most $limit s): $*" >&2
  timeout -k 10 "$limit" "$@" > "$logs/$name.json" 2> "$logs/$name.log"
  local status=$? took=$((SECONDS - began)) result
  result=$(whole_json "$logs/$name.json")
  if [ $status -eq 0 ] && [ -n "$result" ]; then record "$name" passed $((SECONDS - began)) '' "$result"; return 0; fi
  # Stopped because the time of all was over, or the peer's compiler searched too long: not seen. Stopped in its own time: too slow, or it hangs.
  if [ "$took" -ge "$limit" ] && { [ "$limit" -lt "$own" ] || [[ $name = bench-compiled-* ]]; }; then
    record "$name" skipped "$took" "stopped after $limit s; $(tail -n 5 "$logs/$name.log")"
    return 1
  fi
  record "$name" failed $((SECONDS - began)) "exit code $status; $(ending "$logs/$name.log")" "$result"
  return 1
}

# --- what is here ---
step device nvidia-smi --query-gpu=name,compute_cap,memory.total,driver_version --format=csv,noheader
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
      # Without the allocator's large blocks: in them, what lies beyond a tensor is still a valid address.
      step "compute-sanitizer-$tool" env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" --error-exitcode 9 "$tests" --test-case='kernel *'
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
  device_step() {  # name arguments...
    local name=$1
    shift
    json_step "$name" "$node" bin/diffmine.js "$@" --device cuda --json
  }

  # Training: twenty steps on the golden pictures; every loss must be finite for them to pass.
  made=$build/trained
  rm -rf "$made"
  train() {  # name options...
    local name=$1
    shift
    device_step "train-$name" train "$golden/mini-dataset" --out "$made/$name" --steps 20 --batch 8 --sample-every 20 --sample-count 1 --sample-steps 4 "$@"
  }
  if [ ! -d "$golden/mini-dataset" ] || [ ! -d "$golden/tiny-sd15" ]; then skip train "$golden has no mini-dataset and tiny-sd15"
  else
    for precision in fp32 bf16 fp16; do train "$precision" --new tiny --dtype "$precision"; done
    train from --from "$golden/tiny-sd15" --dtype bf16
    train lora --from "$golden/tiny-sd15" --dtype bf16 --lora-rank 4
    train checkpointing --from "$golden/tiny-sd15" --dtype bf16 --gradient-checkpointing
    device_step resume train --resume --out "$made/fp16" --steps 24

    # Sampling: of classes, of text and latents, and with low-rank updates.
    device_step sample-classes sample "$made/bf16" --out "$made/sampled-classes" -n 4 --steps 10 --dtype bf16
    device_step sample-text sample "$golden/tiny-sd15" --label 1920 --out "$made/sampled-text" -n 4 --steps 10 --dtype fp16
    device_step sample-lora sample "$made/lora" --label 1920 --out "$made/sampled-lora" -n 4 --steps 10

    # The applications: injection and guidance, features of sequences, heat maps.
    for precision in fp32 fp16; do
      apps=$made/applications-$precision
      device_step "translate-$precision" translate "$golden/mini-dataset" --model "$golden/tiny-sd15" --preset cars --size 32 --inversion-steps 10 --steps 5 --dtype "$precision" --out "$apps/translated" &&
        device_step "cotypicality-$precision" cotypicality "$apps/translated" --model "$golden/tiny-sd15" --samples 2 --ensemble 2 --patch 8 --places 3 --clusters 2 --dimensions 4 --dtype "$precision" \
          --out "$apps/changes"
      device_step "localize-$precision" localize "$golden/mini-dataset" --model "$golden/tiny-sd15" --size source --samples 8 --bootstrap 10 --overlays 1 --dtype "$precision" --out "$apps/maps"
    done

    # A process a card.
    if [ "$(nvidia-smi --list-gpus | wc -l)" -lt 2 ]; then skip devices 'there is one card'
    else
      json_step devices "$node" bin/diffmine.js scan "$golden/mini-dataset" --model "$golden/tiny-sd15" --size source --samples 12 --patch 16 --batch 8 --shard-size 2 --devices 0,1 --dtype fp16 \
        --out "$made/devices" --json
    fi
  fi

  # --- speed: the most telling first, as there is an end to the time ---
  bench=("$node" bin/diffmine.js bench --device cuda --json)
  has_peer=no
  "$peer" -c 'import torch, diffusers; assert torch.cuda.is_available()' > "$logs/peer.log" 2>&1 && has_peer=yes
  [ $has_peer = yes ] || skip peer "$peer has no diffusers with CUDA: $(tail -n 1 "$logs/peer.log")"
  batch=${BENCH_BATCH:-64}
  with_peer=()
  [ $has_peer = no ] || with_peer=(--peer "$peer")

  bench_step bench 180 "${bench[@]}" "$logs/baseline.json" --dtype fp16 --batch "$batch" "${with_peer[@]}" --summary "$logs/bench.md"
  # The same once more must be no regression: what the noise of this machine is.
  if [ -s "$logs/baseline.json" ]; then bench_step bench-compare 120 "${bench[@]}" --dtype fp16 --batch "$batch" --compare "$logs/baseline.json" --tolerance 10%
  else skip bench-compare 'there is no baseline'
  fi
  bench_step bench-batches 120 "${bench[@]}" --dtype fp16 --batch 128,256,512 --no-stages --repeats 3

  # A model of full size, and pictures to go with it, make whole runs.
  whole=$build/whole
  rm -rf "$whole"
  like=$golden/tiny-sd15
  [ -d "$like" ] || like=test/data/golden/tiny-sd15
  if [ $has_peer = no ]; then skip whole 'a model of full size takes a Python with diffusers to make'
  elif bench_step whole-model 120 bash -c '"$1" scripts/random-model.py "$2" "$3" >&2 && echo "{\"made\":\"model\"}"' - "$peer" "$whole/model" "$like" &&
    bench_step whole-pictures 60 "$node" bin/diffmine.js demo --data-only "$whole/world" --size 512 --pictures 16 --heldout 0 --json; then
    pictures=$whole/world/train
    # Billions of patches, by count: what ninety-six pictures take more than six.
    mkdir -p "$whole/few"
    for label in "$pictures"/*/; do mkdir "$whole/few/$(basename "$label")" && cp "$(find "$label" -type f | sort | head -n 1)" "$whole/few/$(basename "$label")/"; done
    scan=("$node" bin/diffmine.js scan --model "$whole/model" --device cuda --dtype fp16 --no-maps --json)
    bench_step scan-few 90 "${scan[@]}" "$whole/few" --out "$whole/run-few" &&
      bench_step scan-all 240 "${scan[@]}" "$pictures" --out "$whole/run-all" &&
      step billion-patches "$node" -e '
        const [few, all] = process.argv.slice(1).map((file) => JSON.parse(require("node:fs").readFileSync(file, "utf8")));
        const each = (all.seconds - few.seconds) / (all.scored - few.scored);
        const patches = (512 - all.patch + 1) ** 2;
        console.log(`${all.scored} pictures of 512 px in ${all.seconds.toFixed(1)} s, ${few.scored} in ${few.seconds.toFixed(1)} s: ${(1 / each).toFixed(2)} pictures/s, ${(patches / each).toExponential(3)} patches/s`);
        console.log(`${(2 * all.samples / each).toFixed(0)} evaluations/s; a billion patches in ${((1e9 / patches) * each / 60).toFixed(1)} min, by count`);' "$logs/scan-few.json" "$logs/scan-all.json"
    for precision in fp16 fp32; do
      bench_step "reference-$precision" 150 "${bench[@]}" --no-evaluations --reference --peer "$peer" --reference-dtype "$precision" --pipeline-model "$whole/model" --pipeline-data "$pictures" \
        --pipeline-samples 10 --dtype fp16 --repeats 1
    done
  fi
  rm -rf "$whole/run-few" "$whole/run-all"

  # The ranking of a trained model in reduced precision.
  ranks=$build/ranks
  rm -rf "$ranks"
  if [ ! -d demo/model ]; then skip rank-study 'there is no demo/model'
  elif bench_step rank-pictures 60 "$node" bin/diffmine.js demo --data-only "$ranks/world" --pictures 40 --heldout 0 --json; then
    for precision in fp32 fp16 bf16; do
      bench_step "rank-scan-$precision" 90 "$node" bin/diffmine.js scan "$ranks/world/train" --model demo/model --samples 100 --device cuda --dtype "$precision" --no-maps --out "$ranks/$precision" --json
    done
    for precision in fp16 bf16; do
      [ -d "$ranks/$precision" ] && bench_step "rank-study-$precision" 60 "$node" scripts/rank-study.mjs "$ranks/fp32" "$ranks/$precision" --json
    done
  fi

  # torch.compile searches for minutes.
  if [ $has_peer = yes ]; then
    for side in 64 32; do bench_step "bench-compiled-$side" 300 "${bench[@]}" --dtype fp16 --batch "$batch" --latents "$side" --no-stages --repeats 3 --peer "$peer" --peer-compile max-autotune; done
  fi
  bench_step bench-precisions 120 "${bench[@]}" --dtype fp32,bf16 --batch "$batch" --no-stages --repeats 3
  bench_step bench-no-graphs 60 "${bench[@]}" --dtype fp16 --latents 16,32 --batch 8,64 --no-stages --no-graphs
  bench_step bench-graphs 60 "${bench[@]}" --dtype fp16 --latents 16,32 --batch 8,64 --no-stages
  bench_step bench-no-tune 60 "${bench[@]}" --dtype fp16 --batch "$batch" --no-stages --no-tune
  bench_step bench-training 120 "${bench[@]}" --no-evaluations --training tiny,small,medium,large,model --dtype fp32,fp16,bf16
  # Twenty steps of Stable Diffusion 1.5 at the least, two of them to warm up: do they fit into 24 GB?
  bench_step bench-sd15-checkpointing 120 "${bench[@]}" --no-evaluations --training model --dtype bf16 --gradient-checkpointing --repeats 18 &&
    step sd15-below-24GB "$node" -e '
      const { training: [{ measured }] } = JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8"));
      console.log(`peak ${(measured.peakMemory / 1e9).toFixed(2)} GB, ${measured.picturesPerSecond.toFixed(1)} pictures a second`);
      process.exitCode = measured.peakMemory < 24e9 ? 0 : 1;' "$logs/bench-sd15-checkpointing.json"
fi

commit=$(git rev-parse HEAD 2> /dev/null || true)
printf '{"check":"gpu","date":%s,"commit":%s,"libtorch":%s,"architectures":%s,"passed":%s,"steps":[%s]}\n' "$(quote "$(date -u +%FT%TZ)")" \
  "$(quote "$commit")" "$(quote "$libtorch")" "$(quote "$architectures")" "$([ $failed -eq 0 ] && echo true || echo false)" "$(IFS=,; echo "${steps[*]}")"
exit $failed
