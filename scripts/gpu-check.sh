#!/usr/bin/env bash
# Everything that only a machine with a GPU can show, in one command without network or npm, the most telling first: build, C++ tests on the
# device, verify, benchmark; then memory checks, rankings, whole runs, training, applications. Progress on stderr; at the end, also when it is
# stopped, one JSON object on stdout, which a file has after every step. Exit code 1 if any step failed.
# A step that could not be tried for want of a tool or of time is "skipped" with its reason, never "passed".
#
#   MINUTES=25                 for all of it; what does not fit is skipped. 10 are enough for the first half
#   ONLY=bench,rank-           only steps of these names or beginnings: a second call goes on with the rest, and builds nothing anew
#   LIBTORCH=folder            a CUDA LibTorch; otherwise the torch of PYTHON (python3)
#   NODE=/path/to/node         for the addon (needs node_modules), verify and bench (need dist/: node scripts/packages.mjs)
#   GOLDEN=folder              what verify checks (default test/data/golden)
#   DOCTEST_INCLUDE=folder     that holds doctest/doctest.h, where it is not installed
#   ARCHITECTURES=90           compute capabilities to compile for (default: the cards here)
#   BUILD=folder               (default build-gpu)     LOGS=folder (default BUILD/logs)     REPORT=file (default in LOGS)
#   PEER_PYTHON=python         one with torch and diffusers (default PYTHON): peers, whole runs and the reference's loop
#   COMMIT=hash                where this is no clone
set -u -o pipefail
cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build-gpu}
logs=${LOGS:-$build/logs}
golden=${GOLDEN:-test/data/golden}
python=${PYTHON:-python3}
node=${NODE:-}
peer=${PEER_PYTHON:-$python}
minutes=${MINUTES:-25}
mkdir -p "$build" "$logs"
build=$(cd "$build" && pwd)
file=${REPORT:-$logs/report-$(date -u +%H%M%S).json}
ends=$((SECONDS + 60 * minutes))
commit=${COMMIT:-$(git rev-parse HEAD 2> /dev/null || true)}
cli=("$node" bin/diffmine.js)

# --- the report ---
steps=()
failed=0
libtorch=
architectures=
process=   # of the step under way
under_way=
stopped=   # by a signal

# A compiler's log may hold bytes that are no UTF-8, and JSON may not.
utf8() { if command -v iconv > /dev/null; then iconv -c -f UTF-8 -t UTF-8 2> /dev/null || true; else cat; fi; }

quote() {  # any text as a JSON string: other control characters are dropped
  printf '"%s"' "$(printf '%s' "$1" | utf8 | sed 's/\\/\\\\/g; s/"/\\"/g; s/\t/\\t/g' | tr -d '\000-\010\013-\037' | awk 'NR > 1 { printf "\\n" } { printf "%s", $0 }')"
}

report() {
  printf '{"check":"gpu","date":%s,"commit":%s,"libtorch":%s,"architectures":%s,"minutes":%s,"stopped":%s,"passed":%s,"steps":[%s]}\n' "$(quote "$(date -u +%FT%TZ)")" \
    "$(quote "$commit")" "$(quote "$libtorch")" "$(quote "$architectures")" "$minutes" "${stopped:-null}" "$([ $failed -eq 0 ] && echo true || echo false)" "$(IFS=,; echo "${steps[*]}")"
}

record() {  # name status seconds details [json]
  steps+=("{\"step\":$(quote "$1"),\"status\":\"$2\",\"seconds\":$3,\"details\":$(quote "$4")${5:+,\"result\":$5}}")
  [ "$2" != failed ] || failed=1
  echo "$2  $1  ($3 s)${4:+  $(head -n 1 <<< "$4")}" >&2
  report > "$file.part" && mv "$file.part" "$file"
}

# shellcheck disable=SC2317  # a trap calls it
finish() {
  trap - EXIT INT TERM HUP
  if [ -n "$process" ]; then
    kill -TERM "$process" 2> /dev/null  # timeout passes it on to all that it started
    wait "$process"
    record "$under_way" skipped 0 "stopped: $(tail -n 3 "$logs/$under_way.log")"
  fi
  report | tee "$file"
}
trap finish EXIT
trap 'stopped="\"INT\""; exit 130' INT
trap 'stopped="\"TERM\""; exit 143' TERM
trap 'stopped="\"HUP\""; exit 129' HUP

# --- steps ---
wanted() {  # name: is it asked for?
  [ -n "${ONLY:-}" ] || return 0
  local one
  for one in ${ONLY//,/ }; do [[ $1 != "$one"* ]] || return 0; done
  return 1
}

skip() { ! wanted "$1" || record "$1" skipped 0 "$2"; }
fail() { ! wanted "$1" || record "$1" failed 0 "$2"; }

# What a log says went wrong, for who reads the JSON alone: the first errors and the end.
ending() { echo "$1 says:"; grep -nE 'ERROR|[Ee]rror:|FAILED|values:' "$1" | head -n 20; echo '...'; tail -n 10 "$1"; }

# What was given up on the way, though the work went on without it.
notices() { grep -hE '(is|are) off: ' "$1" | sort -u | head -n 5; }

# The stdout of a step on one line, if it is one whole JSON object; nothing otherwise.
whole_json() {
  "$node" -e 'const value = JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8"));
    if (typeof value === "object" && value !== null && !Array.isArray(value)) console.log(JSON.stringify(value));' "$1" 2> /dev/null
}

attempt() {  # out name seconds command...: for so many seconds at most, and while MINUTES last
  local out=$1 name=$2 own=$3 limit=$((ends - SECONDS)) log=$logs/$2.log began=$SECONDS status took result=
  shift 3
  wanted "$name" || return 1
  [ "$limit" -lt "$own" ] || limit=$own
  if [ "$limit" -lt 10 ]; then skip "$name" "the $minutes minutes are over"; return 1; fi
  echo "...     $name (at most $limit s): $*" >&2
  under_way=$name
  : > "$log"
  if [ "$out" = "$log" ]; then timeout -k 10 "$limit" "$@" > "$log" 2>&1 & else timeout -k 10 "$limit" "$@" > "$out" 2> "$log" & fi
  process=$!
  wait "$process"
  status=$?
  process=
  took=$((SECONDS - began))
  [ "$out" = "$log" ] || result=$(whole_json "$out")
  if [ $status -eq 0 ] && [ "$out" = "$log" ]; then record "$name" passed $took "$(notices "$log"; tail -n 3 "$log")"; return 0; fi
  if [ $status -eq 0 ] && [ -n "$result" ]; then record "$name" passed $took "$(notices "$log")" "$result"; return 0; fi
  # Stopped because the time of all was over, or a compiler searched too long: not seen. Stopped in its own time: too slow, or it hangs.
  if [ $status -ge 124 ] && [ $took -ge "$limit" ] && { [ "$limit" -lt "$own" ] || [[ $name = bench-compiled-* ]]; }; then
    record "$name" skipped $took "stopped after $limit s; $(tail -n 5 "$log")" "$result"
  else
    record "$name" failed $took "exit code $status$([ $took -lt "$limit" ] || echo ", stopped after $limit s"); $(notices "$log"; ending "$log")" "$result"
  fi
  return 1
}

step() { attempt "$logs/$1.log" "$@"; }        # name seconds command...: its last lines are the details
json_step() { attempt "$logs/$1.json" "$@"; }  # name seconds command...: its stdout is the result, kept whole even where it fails
on_device() {  # name seconds arguments...
  local name=$1 seconds=$2
  shift 2
  json_step "$name" "$seconds" "${cli[@]}" "$@" --device cuda --json
}

# --- what is here ---
step device 30 nvidia-smi --query-gpu=name,compute_cap,memory.total,driver_version --format=csv,noheader
capabilities=$(timeout 30 nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2> /dev/null | tr -d . | sort -u | paste -sd';' -)
architectures=${ARCHITECTURES:-${capabilities:-80;86;89;90}}
command -v nvcc > /dev/null || [ ! -x /usr/local/cuda/bin/nvcc ] || PATH=$PATH:/usr/local/cuda/bin

libtorch=${LIBTORCH:-}
[ -n "$libtorch" ] || libtorch=$("$python" -c 'import importlib.util; print(importlib.util.find_spec("torch").submodule_search_locations[0])' 2> "$logs/libtorch.log")
if [ -z "$libtorch" ]; then fail libtorch "LIBTORCH is not set and $python has no torch"
elif [ ! -f "$libtorch/lib/libtorch_cuda.so" ]; then fail libtorch "$libtorch is built without CUDA"
fi

# --- build, unless what is there was built of the same files ---
doctest=()
[ -z "${DOCTEST_INCLUDE:-}" ] || doctest=("-DDOCTEST_INCLUDE=$DOCTEST_INCLUDE")
with_addon=OFF
[ -n "$node" ] && [ -d node_modules/node-api-headers/include ] && [ -d node_modules/node-addon-api ] && with_addon=ON
generator=()
command -v ninja > /dev/null && generator=(-G Ninja)
sources() { { find CMakeLists.txt cmake cpp binding -type f -print0 | sort -z | xargs -0 sha256sum; echo "$libtorch $architectures $with_addon ${doctest[*]-}"; } | sha256sum; }
built=no
if [ ! -f "$libtorch/lib/libtorch_cuda.so" ]; then fail build 'there is no CUDA LibTorch'
elif [ "$(sources)" = "$(cat "$build/sources" 2> /dev/null)" ]; then built=yes && record build passed 0 'before, of the same files'
else
  chosen=${ONLY:-}
  ONLY=
  step configure 120 cmake "${generator[@]}" -S . -B "$build" "-DLIBTORCH=$libtorch" -DDIFFMINE_CUDA=ON "-DDIFFMINE_CUDA_ARCHITECTURES=$architectures" \
    "-DDIFFMINE_NODE=$with_addon" "${doctest[@]}" &&
    step build 900 cmake --build "$build" -j "${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}" && built=yes && sources > "$build/sources"
  ONLY=$chosen
fi

# --- is it right? ---
tests=$build/diffmine_tests
export DIFFMINE_REQUIRE_GPU=1  # the cases that run on every device fail where they find no GPU
if [ $built = no ]; then skip tests 'the build failed'
elif [ ! -x "$tests" ]; then fail tests 'doctest was not found: set DOCTEST_INCLUDE'
else step tests 120 "$tests" --test-case='kernel *,attention *,typicality *,passes *,optimizations*,pictures encoded *,a queue *,stages *,the machine*'
fi

ours=no  # the package runs
if [ -z "$node" ]; then skip addon 'NODE is not set'
elif [ $with_addon = OFF ]; then skip addon 'node_modules has no node-api-headers and node-addon-api'
elif [ $built = no ] || [ ! -f "$build/diffmine.node" ]; then fail addon 'it was not built'
elif [ ! -d dist ]; then fail addon 'there is no dist/: node scripts/packages.mjs'
else
  export DIFFMINE_ADDON=$build/diffmine.node
  ours=yes
fi

if [ $ours = yes ]; then
  json_step doctor 60 "${cli[@]}" doctor --json
  for precision in fp32 fp16; do on_device "verify-$precision" 90 verify "$golden" --dtype "$precision"; done

  # --- how fast is it? Scans alone are launched as graphs in the way that scans are: their figures need the stages. ---
  batch=${BENCH_BATCH:-64}
  with_peer=()
  if "$peer" -c 'import importlib.util, sys; sys.exit(not all(importlib.util.find_spec(name) for name in ("torch", "diffusers")))' 2> /dev/null; then with_peer=(--peer "$peer"); fi
  [ ${#with_peer[@]} -gt 0 ] || skip peer "$peer has no diffusers"
  on_device bench 180 bench --dtype fp16 --latents 32,64 --batch "$batch" "${with_peer[@]}" --summary "$logs/bench.md"
  on_device bench-graphs 90 bench --dtype fp16 --latents 32 --batch 8,32,64 --repeats 3
  on_device bench-no-graphs 90 bench --dtype fp16 --latents 32 --batch 8,32,64 --repeats 3 --disable graphs
  on_device bench-no-tune 60 bench --dtype fp16 --latents 32,64 --batch "$batch" --no-stages --repeats 3 --disable tune
  on_device verify-bf16 90 verify "$golden" --dtype bf16
fi

# --- does it touch what is not its own? ---
if [ $built = yes ] && [ -x "$tests" ]; then
  if ! command -v compute-sanitizer > /dev/null; then skip sanitizer 'there is no compute-sanitizer on the PATH'
  else
    for tool in memcheck racecheck; do
      # Without the allocator's large blocks: in them, what lies beyond a tensor is still a valid address.
      step "sanitizer-$tool" 150 env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" --error-exitcode 9 "$tests" --test-case='kernel *'
    done
  fi
fi

if [ $ours = yes ]; then
  # --- the ranking of a trained model in reduced precision ---
  ranks=$build/ranks
  wanted rank-pictures && rm -rf "$ranks"
  if [ ! -d demo/model ]; then skip rank-study 'there is no demo/model'
  elif json_step rank-pictures 60 "${cli[@]}" demo --data-only "$ranks/world" --pictures 40 --heldout 0 --json; then
    for precision in fp32 fp16 bf16; do
      on_device "rank-scan-$precision" 90 scan "$ranks/world/train" --model demo/model --samples 100 --dtype "$precision" --no-maps --out "$ranks/$precision"
    done
    for precision in fp16 bf16; do
      [ -d "$ranks/$precision" ] && json_step "rank-study-$precision" 60 "$node" scripts/rank-study.mjs "$ranks/fp32" "$ranks/$precision" --json
    done
  fi

  # --- whole runs: a model of full size, and pictures to go with it ---
  whole=$build/whole
  pictures=$whole/world/train
  like=$golden/tiny-sd15
  [ -d "$like" ] || like=test/data/golden/tiny-sd15
  wanted whole-model && rm -rf "$whole"
  # shellcheck disable=SC2016  # expanded by the inner shell; below, ${...} is JavaScript's
  if [ ${#with_peer[@]} -eq 0 ]; then skip whole 'a model of full size takes a Python with diffusers to make'
  elif json_step whole-model 120 bash -c '"$1" scripts/random-model.py "$2" "$3" >&2 && echo "{\"made\":\"model\"}"' - "$peer" "$whole/model" "$like" &&
    json_step whole-pictures 60 "${cli[@]}" demo --data-only "$whole/world" --size 512 --pictures 16 --heldout 0 --json; then
    # Billions of patches, by count: what ninety-six pictures take more than six.
    for label in "$pictures"/*/; do
      mkdir -p "$whole/few/$(basename "$label")" && cp "$(find "$label" -type f | sort | head -n 1)" "$whole/few/$(basename "$label")/"
    done
    scan=(scan --model "$whole/model" --dtype fp16 --no-maps)
    on_device whole-few 90 "${scan[@]}" "$whole/few" --out "$whole/run-few" &&
      on_device whole-all 240 "${scan[@]}" "$pictures" --out "$whole/run-all" &&
      step whole-billion 20 "$node" -e '
        const [few, all] = process.argv.slice(1).map((file) => JSON.parse(require("node:fs").readFileSync(file, "utf8")));
        const each = (all.seconds - few.seconds) / (all.scored - few.scored);
        const patches = (512 - all.patch + 1) ** 2;
        console.log(`${all.scored} pictures of 512 px in ${all.seconds.toFixed(1)} s, ${few.scored} in ${few.seconds.toFixed(1)} s: ${(1 / each).toFixed(2)} pictures/s, ${(patches / each).toExponential(3)} patches/s`);
        console.log(`${(2 * all.samples / each).toFixed(0)} evaluations/s; a billion patches in ${((1e9 / patches) * each / 60).toFixed(1)} min, by count`);' "$logs/whole-few.json" "$logs/whole-all.json"
    for precision in fp16 fp32; do
      on_device "whole-reference-$precision" 150 bench --no-evaluations --reference --peer "$peer" --reference-dtype "$precision" --pipeline-model "$whole/model" --pipeline-data "$pictures" \
        --pipeline-samples 10 --dtype fp16 --repeats 1
    done
    rm -rf "$whole/run-few" "$whole/run-all"
  fi

  # --- the rest of the benchmark; torch.compile searches for minutes ---
  on_device bench-batches 120 bench --dtype fp16 --latents 32,64 --batch 128,256,512 --no-stages --repeats 3
  on_device bench-precisions 120 bench --dtype fp32,bf16 --latents 32,64 --batch "$batch" --no-stages --repeats 3
  on_device bench-ablate 300 bench --dtype fp16 --latents 64 --batch "$batch" --ablate all --repeats 3
  # The first step once more must be no regression: what the noise of this machine is.
  if [ -s "$logs/bench.json" ]; then on_device bench-compare 120 bench --dtype fp16 --latents 32,64 --batch "$batch" --compare "$logs/bench.json" --tolerance 10%
  else skip bench-compare 'there is no baseline'
  fi
  if [ ${#with_peer[@]} -gt 0 ]; then
    for side in 64 32; do on_device "bench-compiled-$side" 300 bench --dtype fp16 --batch "$batch" --latents "$side" --no-stages --repeats 3 --peer "$peer" --peer-compile max-autotune; done
  fi

  # --- training: twenty steps on the golden pictures; every loss must be finite for them to pass ---
  made=$build/trained
  train() {  # name options...
    local name=$1
    shift
    ! wanted "train-$name" || rm -rf "${made:?}/$name"
    on_device "train-$name" 90 train "$golden/mini-dataset" --out "$made/$name" --steps 20 --batch 8 --sample-every 20 --sample-count 1 --sample-steps 4 "$@"
  }
  sample() {  # name folder options...: of what a step above has made, or a golden model
    local name=$1 from=$2
    shift 2
    if [ ! -d "$from" ]; then skip "sample-$name" "there is no $from"
    else
      ! wanted "sample-$name" || rm -rf "$made/sampled-$name"
      on_device "sample-$name" 60 sample "$from" --out "$made/sampled-$name" -n 4 --steps 10 "$@"
    fi
  }
  if [ ! -d "$golden/mini-dataset" ] || [ ! -d "$golden/tiny-sd15" ]; then skip train "$golden has no mini-dataset and tiny-sd15"
  else
    for precision in fp32 bf16 fp16; do train "$precision" --new tiny --dtype "$precision"; done
    train from --from "$golden/tiny-sd15" --dtype bf16
    train lora --from "$golden/tiny-sd15" --dtype bf16 --lora-rank 4
    train checkpointing --from "$golden/tiny-sd15" --dtype bf16 --gradient-checkpointing
    if [ -d "$made/fp16" ]; then on_device train-resume 60 train --resume --out "$made/fp16" --steps 24; else skip train-resume "there is no $made/fp16"; fi
    sample classes "$made/bf16" --dtype bf16
    sample text "$golden/tiny-sd15" --label 1920 --dtype fp16
    sample lora "$made/lora" --label 1920

    # --- the applications: injection and guidance, features of sequences, heat maps ---
    for precision in fp32 fp16; do
      apps=$made/applications-$precision
      ! wanted "apps-translate-$precision" || rm -rf "$apps"
      on_device "apps-translate-$precision" 90 translate "$golden/mini-dataset" --model "$golden/tiny-sd15" --preset cars --size 32 --inversion-steps 10 --steps 5 --dtype "$precision" --out "$apps/translated" &&
        on_device "apps-cotypicality-$precision" 90 cotypicality "$apps/translated" --model "$golden/tiny-sd15" --samples 2 --ensemble 2 --patch 8 --places 3 --clusters 2 --dimensions 4 \
          --dtype "$precision" --out "$apps/changes"
      ! wanted "apps-localize-$precision" || rm -rf "$apps/maps"
      on_device "apps-localize-$precision" 90 localize "$golden/mini-dataset" --model "$golden/tiny-sd15" --size source --samples 8 --bootstrap 10 --overlays 1 --dtype "$precision" --out "$apps/maps"
    done

    # --- a process a card ---
    if [ "$(timeout 30 nvidia-smi --list-gpus 2> /dev/null | wc -l)" -lt 2 ]; then skip devices 'there is one card'
    else
      ! wanted devices || rm -rf "$made/devices"
      json_step devices 90 "${cli[@]}" scan "$golden/mini-dataset" --model "$golden/tiny-sd15" --size source --samples 12 --patch 16 --batch 8 --shard-size 2 --devices 0,1 --dtype fp16 \
        --out "$made/devices" --json
    fi
  fi
  on_device bench-training 150 bench --no-evaluations --training tiny,small,medium,large,model --dtype fp32,fp16,bf16 --repeats 3
  # Twenty steps of Stable Diffusion 1.5 at the least, two of them to warm up: do they fit into 24 GB?
  # shellcheck disable=SC2016  # ${...} is JavaScript's
  on_device bench-checkpointing 120 bench --no-evaluations --training model --dtype bf16 --gradient-checkpointing --repeats 18 &&
    step bench-checkpointing-24GB 20 "$node" -e '
      const { training: [{ measured }] } = JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8"));
      console.log(`peak ${(measured.peakMemory / 1e9).toFixed(2)} GB, ${measured.picturesPerSecond.toFixed(1)} pictures a second`);
      process.exitCode = measured.peakMemory < 24e9 ? 0 : 1;' "$logs/bench-checkpointing.json"
fi

# The C++ tests that need no device, as this build has them.
[ $built = yes ] && [ -x "$tests" ] && step tests-all 240 "$tests"
exit $failed
