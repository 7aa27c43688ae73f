#!/usr/bin/env bash
# tensorrt.sh [ARGUMENTS...]: Python with a TensorRT that parses and compiles, on a machine without a GPU.
#
# Prepares build/tensorrt and then, with arguments, runs Python with them:
#     tests/gates/tensorrt.sh -m smartrt.tensorrt.compile REQUEST.json
# TensorRT's own libraries are on no index that pip asks. Its sibling for desktop GPUs, TensorRT-RTX, is: with the same
# parser and the same interface, inside a plugin of ONNX Runtime, and it compiles ahead of time without a GPU. TensorRT's
# Python bindings load it in the place of theirs. Nobody supports that pair, so both are pinned and only processes of
# the tests load them. It shows that the parser, the shapes and the types of a graph are accepted; it does not show
# that another release accepts them, nor what is computed: a plan cannot be loaded without a driver.
# What stands in build/tensorrt afterwards:
#     environment/    the libraries under the names that the bindings look for, the bindings, a module `tensorrt`
#     python          runs Python with it
# Environment: PYTHON (with pip; its version decides which bindings are fetched).
set -euo pipefail

COMPILER=onnxruntime-ep-nv-tensorrt-rtx-cu13==0.5.0 # TensorRT-RTX 1.7.1
BINDINGS=tensorrt-cu13-bindings==11.4.0.106

PYTHON=${PYTHON:-python3}
case $PYTHON in
    /*) ;;
    */*) PYTHON=$PWD/$PYTHON ;; # the environment is made in a folder of its own
esac
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=$PWD/build/tensorrt

fail() {
    echo "tensorrt.sh: $*" >&2
    exit 1
}

check_tools() {
    [ "$(uname -m)" = x86_64 ] || fail "its libraries are for x86-64, and this machine is $(uname -m)"
    local tool
    for tool in cc flock "$PYTHON"; do
        command -v "$tool" >/dev/null || fail "needs $tool, which is not installed"
    done
    "$PYTHON" -m pip --version >/dev/null 2>&1 || fail "needs pip, which $PYTHON does not have"
}

# unpack WHEEL PREFIX...: what of a wheel begins with one of these.
unpack() {
    "$PYTHON" - "$@" <<'END'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    wheel.extractall(members=[name for name in wheel.namelist() if name.startswith(tuple(sys.argv[2:]))])
END
}

make_environment() {
    "$PYTHON" -m pip download --quiet --no-deps --only-binary=:all: --dest wheels "$COMPILER" "$BINDINGS"
    local rtx=onnxruntime_ep_nv_tensorrt_rtx
    unpack wheels/onnxruntime_ep_*.whl $rtx/libtensorrt_rtx. $rtx/libtensorrt_onnxparser_rtx. ${rtx}_cu13
    unpack wheels/tensorrt_cu13_bindings-*.whl tensorrt
    rm -r wheels
    ln -s $rtx/libtensorrt_rtx.so.* libnvinfer.so.11
    ln -s $rtx/libtensorrt_rtx.so.* libtensorrt_rtx.so.1
    ln -s $rtx/libtensorrt_onnxparser_rtx.so.* libnvonnxparser.so.11
    # The bindings also want the plugins, of which graphs of smartrt use none.
    echo 'int initLibNvInferPlugins(void *logger, const char *space) { (void)logger; (void)space; return 1; }' |
        cc -shared -fPIC -x c - -o libnvinfer_plugin.so.11
    mkdir tensorrt
    printf 'from tensorrt_bindings import *\nfrom tensorrt_bindings import __version__\n' >tensorrt/__init__.py
}

# Everything is made beside its place and renamed, with the key of what it was made from.
prepare() {
    local key
    key=$(cat tests/gates/tensorrt.sh <("$PYTHON" -VV) | sha256sum)
    mkdir -p "$here"
    exec 9>"$here/.lock"
    flock 9
    if [ "$(cat "$here/environment/.made-from" 2>/dev/null)" != "$key" ]; then
        rm -rf "$here/environment" "$here/new"
        mkdir "$here/new"
        echo "tensorrt.sh: making $here/environment (150 MB are fetched)"
        set +e # and in the subshell on again: an `if` or `||` around it would switch it off inside
        (set -e; cd "$here/new"; make_environment) >"$here/log" 2>&1
        local status=$?
        set -e
        [ $status = 0 ] || fail "cannot make it: $(grep . "$here/log" | tail -n 1) (all of it: $here/log)"
        echo "$key" >"$here/new/.made-from"
        mv "$here/new" "$here/environment"
    fi
    cat >"$here/python.new" <<END
#!/bin/sh
# Written by tests/gates/tensorrt.sh.
export LD_LIBRARY_PATH="$here/environment" PYTHONPATH="$here/environment"
exec "$(command -v "$PYTHON")" "\$@"
END
    chmod +x "$here/python.new"
    mv "$here/python.new" "$here/python"
    exec 9>&-
}

check_tools
prepare
[ $# = 0 ] || exec "$here/python" "$@"
