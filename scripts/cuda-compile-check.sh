#!/usr/bin/env bash
# Does the CUDA code compile? Needs nvcc and ninja, no GPU and no CUDA LibTorch: the CPU LibTorch ships the CUDA headers.
# Compiles every cpp/kernels/*.cu, and with DIFFMINE_CUDA every .cpp that knows the word; links nothing. One line a file.
#
#   [LIBTORCH=folder] [ARCHITECTURES='80;90'] [UNITY=OFF] scripts/cuda-compile-check.sh [build folder]
#       exit code 0: all compile; 1: not all, or nothing could be tried. UNITY=OFF: each file by itself, for three times the time
set -u -o pipefail
cd "$(dirname "$0")/.."
build=${1:-build-cuda-check}

stop() { echo "CUDA compile check: $1" >&2; exit 1; }
command -v nvcc > /dev/null || stop 'there is no nvcc on the PATH'
command -v ninja > /dev/null || stop 'there is no ninja on the PATH (Debian: apt-get install ninja-build)'
cache=${DIFFMINE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/diffmine}
for folder in "$cache"/libtorch-*; do
  [ -n "${LIBTORCH:-}" ] || { [ -d "$folder/include/c10/cuda" ] && LIBTORCH=$folder; }
done
[ -n "${LIBTORCH:-}" ] || stop 'no LibTorch: set LIBTORCH, or run node scripts/setup.mjs'

log=$build/check.log
mkdir -p "$build"
cmake -G Ninja -S . -B "$build" -DLIBTORCH="$LIBTORCH" -DDIFFMINE_NODE=OFF -DDIFFMINE_TESTS=OFF -DDIFFMINE_CUDA=ON \
  -DDIFFMINE_CUDA_COMPILE_ONLY=ON "-DDIFFMINE_CUDA_ARCHITECTURES=${ARCHITECTURES:-80;90}" "-DCMAKE_UNITY_BUILD=${UNITY:-ON}" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG= -DCMAKE_CUDA_FLAGS_DEBUG= > "$log" 2>&1 || { tail -n 20 "$log" >&2; stop 'configuring failed'; }
cmake --build "$build" --target diffmine_kernels diffmine_cuda_check -- -k 0 > "$log" 2>&1
status=$?

# the sources of an object: several, if it is of a unity build
sources() {
  local unit=
  case $1 in
  Unity/*) unit=$build/CMakeFiles/diffmine_cuda_check.dir/$1 ;;
  kernels.cu) unit=$build/kernels.cu ;;
  esac
  if [ -n "$unit" ]; then sed -nE "s#^\#include \"$PWD/(.*)\"#\1#p" "$unit"; else echo "$1"; fi
}

# ninja names the objects that failed: CMakeFiles/TARGET.dir/SOURCE.o
failed=$(sed -nE 's#^FAILED: (\[[^]]*\] )?CMakeFiles/[^/]*\.dir/([^ ]*)\.o.*#\2#p' "$log")
ninja -C "$build" -t targets all | sed -nE 's#^CMakeFiles/diffmine_(kernels|cuda_check)\.dir/(.*)\.o: .*#\2#p' | sort |
  while read -r object; do
    if grep -qxF -- "$object" <<< "$failed"; then said=FAILED; elif [ $status -ne 0 ] && [ -z "$failed" ]; then said='?     '; else said='ok    '; fi
    sources "$object" | sed "s#^#$said  #"
  done
[ $status -eq 0 ] || { grep -E 'error|FAILED' "$log" | head -n 40 >&2; stop "not all files compile; the whole log: $log"; }
