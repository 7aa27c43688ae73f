#!/usr/bin/env bash
# aarch64.sh [ARGUMENTS...]: Python as a real aarch64 process on an x86-64 machine, with smartrt's wheel installed.
#
# Prepares build/aarch64 and then, with arguments, runs Python with them:
#     tests/gates/aarch64.sh -m smartrt doctor
# No root, no container, no binfmt_misc: apt-get keeps its lists in our folder, packages are unpacked and never
# installed, and user-mode QEMU starts the interpreter. Where this machine has no QEMU that is new enough, Debian's is
# fetched. What stands in build/aarch64 afterwards:
#     root/           Python, libc, libstdc++ of Debian arm64
#     qemu/           the emulator
#     program/        the wheel, built from this tree, and what it unpacks to
#     libraries/      what it needs (base and extra `cpu`), in the tested versions: constraints.txt
#     libraries-3.10/ the last numpy and onnxruntime that Python 3.10 gets: gates/python310.txt
#     python          runs it; python-3.10-libraries runs it with those (the interpreter is Debian's in both)
# Each part is made beside its place and renamed, with the key of what it was made from: a part that is half made or
# out of date is made again. Environment: PYTHON (with pip), DEBIAN_MIRROR (else the one apt uses),
# SMARTRT_AARCH64_CPU (a model QEMU knows; cortex-a76 is near an Orin's A78AE and has no SVE).
set -euo pipefail

VERSION=3.11 # bookworm's; its glibc 2.36 is the closest to JetPack 6's 2.35
SUITE=bookworm
QEMU_SUITE=trixie
QEMU_LEAST=8.2 # older ones do not emulate /proc/cpuinfo: onnxruntime crashes on import
PACKAGES=("python$VERSION-minimal" "libpython$VERSION-stdlib" libstdc++6)
PLATFORMS=(--platform=manylinux{_2_{35,34,31,28,27,26,24,17},2014}_aarch64) # whose wheels JetPack 6 takes

PYTHON=${PYTHON:-python3}
case $PYTHON in
    /*) ;;
    */*) PYTHON=$PWD/$PYTHON ;; # parts are made in folders of their own
esac
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
tree=$PWD
here=$tree/build/aarch64

fail() {
    echo "aarch64.sh: $*" >&2
    exit 1
}

check_tools() {
    [ "$(uname -m)" = x86_64 ] || fail "emulates aarch64 on x86-64, and this machine is $(uname -m)"
    local tool
    for tool in apt-get dpkg-deb flock sha256sum "$PYTHON"; do
        command -v "$tool" >/dev/null || fail "needs $tool, which is not installed"
    done
    "$PYTHON" -m pip --version >/dev/null 2>&1 || fail "needs pip, which $PYTHON does not have"
}

# part NAME KEY COMMAND...: make $here/NAME by running COMMAND in a new folder, unless it was made from KEY already.
part() {
    local name=$1 key=$2 status=0
    shift 2
    [ "$(cat "$here/$name/.made-from" 2>/dev/null)" != "$key" ] || return 0
    rm -rf "${here:?}/$name" "$here/$name.new"
    mkdir -p "$here/$name.new"
    echo "aarch64.sh: making $name"
    set +e # and in the subshell on again: an `if` or `||` around it would switch it off inside
    (
        set -e
        cd "$here/$name.new"
        "$@"
    ) >"$here/$name.log" 2>&1
    status=$?
    set -e
    [ $status = 0 ] || fail "cannot make $here/$name: $(grep . "$here/$name.log" | tail -n 1) (all of it: $here/$name.log)"
    echo "$key" >"$here/$name.new/.made-from"
    mv "$here/$name.new" "$here/$name"
}

key_of() { cat "$@" tests/gates/aarch64.sh | sha256sum; }

# debian ARCHITECTURE SUITE: `apt` becomes an apt-get that knows nothing but this one, in the current folder.
debian() {
    local uri
    uri=$(mirror)
    mkdir -p apt/lists/partial apt/cache/archives/partial
    : >apt/status # nothing is installed: what is resolved is complete down to libc
    echo "deb $uri $2 main" >apt/sources.list
    apt=(apt-get --quiet --assume-yes --no-install-recommends
        -o APT::Architecture="$1" -o APT::Architectures="$1" -o APT::Sandbox::User= -o Acquire::Languages=none
        -o Acquire::Retries=3
        -o Dir::Etc::SourceList="$PWD/apt/sources.list" -o Dir::Etc::SourceParts=/nonexistent
        -o Dir::State="$PWD/apt" -o Dir::State::Lists="$PWD/apt/lists" -o Dir::State::Status="$PWD/apt/status"
        -o Dir::Cache="$PWD/apt/cache" -o Debug::NoLocking=1)
    "${apt[@]}" update
}

mirror() {
    local found=${DEBIAN_MIRROR:-}
    # shellcheck disable=SC2016 # apt expands it
    [ -n "$found" ] || found=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
        sed -n '/\/debian\/*$/{p;q}')
    [ -n "$found" ] || fail "apt has no Debian mirror among its sources; name one in DEBIAN_MIRROR"
    echo "$found"
}

unpack() {
    local file
    for file in apt/cache/archives/*.deb; do
        dpkg-deb --extract "$file" "$1"
    done
    rm -r apt
}

make_root() {
    debian arm64 $SUITE
    "${apt[@]}" install --download-only "${PACKAGES[@]}"
    unpack .
}

make_qemu() {
    local name version
    for name in qemu-aarch64-static qemu-aarch64; do
        version=$("$name" --version 2>/dev/null | sed -n 's/.*version \([0-9]*\.[0-9]*\).*/\1/p') || true
        if [ -n "$version" ] && printf '%s\n' $QEMU_LEAST "$version" | sort --check=quiet --version-sort; then
            ln -s "$(command -v "$name")" qemu-aarch64
            return
        fi
    done
    debian amd64 $QEMU_SUITE
    (cd apt/cache/archives && "${apt[@]}" download qemu-user)
    unpack package
    mv package/usr/bin/qemu-aarch64 .
    rm -r package
}

# The wheel is built from a copy: what an earlier build left in the tree would find its way into it.
stage() {
    rm -rf "$here/source"
    mkdir -p "$here/source"
    cp -R pyproject.toml README.md LICENSE runtime models export benchmarks "$here/source"
    find "$here/source" -name __pycache__ -type d -prune -exec rm -r {} +
}

make_program() {
    "$PYTHON" -m pip wheel --quiet --no-deps --wheel-dir wheel "$here/source"
    "$PYTHON" -m pip install --quiet --no-compile --no-deps --target site wheel/*.whl
}

# install PIP-ARGUMENTS...: as pip on the device would choose, into the current folder.
install() {
    "$PYTHON" -m pip install --quiet --no-compile --target . --only-binary=:all: --implementation cp \
        --python-version $VERSION "${PLATFORMS[@]}" "$@"
}

make_libraries() {
    local wheel
    wheel=$(echo "$here"/program/wheel/*.whl)
    install -c "$tree/constraints.txt" "smartrt[cpu] @ file://$wheel"
    rm -r smartrt smartrt-*.dist-info # it stands in program/, which changes more often
}

make_libraries_310() {
    install --no-deps -r "$tree/tests/gates/python310.txt"
}

# launcher NAME LIBRARIES...: write $here/NAME, which runs Python with these folders of libraries and nothing else.
launcher() {
    local name=$1 path=$here/program/site
    shift
    path+=$(printf ":$here/%s" "$@")
    cat >"$here/$name.new" <<END
#!/bin/sh
# Written by tests/gates/aarch64.sh. Variables of this machine stay outside: its libraries are not the guest's.
exec env -i PATH="\$PATH" HOME="\$HOME" LANG=C.UTF-8 "$here/qemu/qemu-aarch64" -L "$here/root" \\
    -cpu "\${SMARTRT_AARCH64_CPU:-cortex-a76}" -E PYTHONHOME="$here/root/usr" -E PYTHONPATH="$path" \\
    -E PYTHONDONTWRITEBYTECODE=1 -E OMP_NUM_THREADS=1 "$here/root/usr/bin/python$VERSION" "\$@"
END
    chmod +x "$here/$name.new"
    mv "$here/$name.new" "$here/$name"
}

prepare() {
    local sources
    mkdir -p "$here"
    exec 9>"$here/.lock"
    flock 9
    stage
    sources=$(cd "$here/source" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
    part root "$(key_of)" make_root
    part qemu "$(key_of)" make_qemu
    part program "$(key_of) $sources" make_program
    part libraries "$(key_of pyproject.toml constraints.txt)" make_libraries
    part libraries-3.10 "$(key_of tests/gates/python310.txt)" make_libraries_310
    launcher python libraries
    launcher python-3.10-libraries libraries-3.10 libraries
    exec 9>&-
}

[ "${BASH_SOURCE[0]}" = "$0" ] || return 0 # read by tests/test_aarch64_gate.py
check_tools
if [ "${1:-}" = --check ]; then # whether this machine can: says why not, and exits with 1
    mirror >/dev/null
    exit 0
fi
prepare
[ $# = 0 ] || exec "$here/python" "$@"
