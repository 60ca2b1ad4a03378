#!/usr/bin/env bash
# One visit to a machine with an NVIDIA GPU: builds, tests, sanitizes and times. bench/gpu.sh [OUT_DIR] leaves logs and
# gpu.json there. It needs nvcc, CMake, Ninja and a Python with pybind11, nanobind, NumPy, CuPy, PyTorch and pytest.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-build/gpu-results}
mkdir -p "$out"
out=$(cd "$out" && pwd)
python=${PYTHON:-python3}
step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

step "the machine"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$out/gpu.txt"
nvcc --version | tail -2 | tee -a "$out/gpu.txt"
arch=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)
[ "$arch" = 90 ] && arch=90a

step "build for $arch"
cmake -S . -B build/gpu -G Ninja -DCMAKE_BUILD_TYPE=Release -DLAMELLA_CUDA=ON -DLAMELLA_WERROR=ON \
  -DLAMELLA_CUDA_LINEINFO=ON \
  "-DLAMELLA_CUDA_ARCHITECTURES=$arch" "-Dpybind11_DIR=$("$python" -m pybind11 --cmakedir)" \
  "-DPython_EXECUTABLE=$(command -v "$python")" >"$out/cmake.log" || { tail -30 "$out/cmake.log"; exit 1; }
ninja -C build/gpu >"$out/build.log" 2>&1 || { grep -E "error|FAILED" "$out/build.log" | head -40; exit 1; }
package=build/gpu/package
rm -rf "$package"
mkdir -p "$package"
cp -r python/lamella "$package/"
rm -f "$package"/lamella/*.so
cp build/gpu/_cpu*.so build/gpu/_cuda*.so "$package/lamella/"
export PYTHONPATH=$PWD/$package LAMELLA_TEST_CUDA=real

step "parity of every op, on the device"
timeout 150 "$python" -m pytest -q -p no:cacheprovider tests/kernels tests/ops >"$out/parity.log" 2>&1
echo "exit $?: $(tail -1 "$out/parity.log")"
grep -E "^(FAILED|ERROR)" "$out/parity.log" | head -40
timeout 60 "$python" -m pytest -q -p no:cacheprovider tests/cuda_host >"$out/device.log" 2>&1
echo "exit $?: $(tail -1 "$out/device.log")"
grep -E "^(FAILED|ERROR)" "$out/device.log" | head -20

step "compute-sanitizer"
for tool in memcheck racecheck; do
  timeout 45 compute-sanitizer --tool $tool --error-exitcode 9 --log-file "$out/$tool.log" \
    "$python" -m pytest -q -x -p no:cacheprovider tests/cuda_host/test_device.py >"$out/$tool-tests.log" 2>&1
  echo "$tool: exit $? $(tail -1 "$out/$tool.log")"
done

step "timings"
timeout "${BENCH_SECONDS:-170}" "$python" -m bench.gpu --rounds 3 --json "$out/gpu.json" 2>"$out/bench.err" |
  tee "$out/bench.txt"
tail -3 "$out/bench.err"
step "done"
