# What the parts of .ci/run share; each is called with the folder they work in.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# Several builds compile the same files in the same way.
export CMAKE_CXX_COMPILER_LAUNCHER=ccache CCACHE_DIR=$work/ccache CCACHE_NOHASHDIR=1
export PATH="$work/dev/bin:$PATH"  # once it is there

step() { printf '\n== %s (%s s)\n' "$1" "$(($(date +%s) - $(cat "$work/began")))"; }

# Waits for one of the builds that .ci/builds makes meanwhile.
built() {
  until [ -e "$work/$1.built" ]; do
    if [ -e "$work/$1.failed" ] || ! kill -0 "$(cat "$work/builds.pid")" 2>/dev/null; then
      if [ -e "$work/$1.built" ]; then break; fi
      cat "$work/$1.log" || true
      echo "the build '$1' failed"
      exit 1
    fi
    sleep 1
  done
  printf '%s: built in %s s\n' "$1" "$(cat "$work/$1.built")"
}

# both <name> <command> -- <name> <command>: side by side; most tests are too small for a second thread.
both() {
  local first=$1 second one=()
  shift
  while [ "$1" != -- ]; do one+=("$1"); shift; done
  second=$2
  shift 2
  "${one[@]}" >"$work/$first.log" 2>&1 &
  local pid=$!
  "$@" >"$work/$second.log" 2>&1 || { cat "$work/$second.log"; wait $pid; exit 1; }
  wait $pid || { cat "$work/$first.log"; exit 1; }
  echo "$first: $(tail -1 "$work/$first.log")"
  echo "$second: $(tail -1 "$work/$second.log")"
}

under_asan() {  # under_asan <python> <arguments>
  LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libubsan.so)" \
    ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 "$@"
}
