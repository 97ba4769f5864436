#!/usr/bin/env bash
# What only a machine with a GPU can show. See gpu-check.py beside this for calls, settings and output.
#
#   scripts/gpu-check.sh first     8 minutes: build, speed by kernel, attention, tests, reference values, memory checks; needs no Node
#   scripts/gpu-check.sh second    5 minutes: addon, verify, ranking in fp16, training, applications; needs NODE=/path/to/node
#   scripts/gpu-check.sh rest      everything that takes longer
exec "${PYTHON:-python3}" "$(dirname "$0")/gpu-check.py" "$@"
