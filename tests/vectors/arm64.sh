#!/bin/sh
# `contactsync audit vectors` by an AArch64 Python: Debian 12's, under qemu-user, on a machine of another kind.
#
# Needs root (debootstrap), and Debian's debootstrap and qemu-user-static. Everything is below build/arm64: the
# packages of an arm64 Debian, unpacked and not configured, and the wheels of requirements/runtime.txt, by their
# hashes. Numba's LLVM then compiles every kernel for AArch64, inside. That takes ten minutes or more.
set -eu
cd "$(dirname "$0")/../.."
python=${1:-.venv/bin/python}
place=$PWD/build/arm64
for tool in debootstrap qemu-aarch64-static dpkg-deb; do
    command -v $tool >/dev/null || { echo "$tool is missing: apt-get install debootstrap qemu-user-static" >&2; exit 3; }
done

if [ ! -e "$place/root/.unpacked" ]; then
    rm -rf "$place/root" && mkdir -p "$place"
    debootstrap --foreign --arch arm64 --variant=minbase --include=python3,libstdc++6,libgcc-s1,zlib1g \
        bookworm "$place/root"
    for package in "$place"/root/var/cache/apt/archives/*.deb; do
        dpkg-deb -x "$package" "$place/root"
    done
    touch "$place/root/.unpacked"
fi

if ! cmp -s requirements/runtime.txt "$place/site/.locked"; then
    rm -rf "$place/site" "$place/wheels" && mkdir -p "$place/site"
    # pybloom-live is an sdist without compiled code: its wheel is built here.
    awk -v place="$place" '/^[a-z]/ {out = place (/^pybloom-live==/ ? "/pure.txt" : "/others.txt")}
        /^ *#/ || !out {next} {print > out}' requirements/runtime.txt
    only="--platform manylinux2014_aarch64 --platform manylinux_2_28_aarch64 --platform manylinux_2_34_aarch64
        --python-version 3.11 --implementation cp --abi cp311 --abi abi3 --abi none --only-binary=:all:"
    "$python" -m pip install --quiet --target "$place/site" $only --no-deps --require-hashes -r "$place/others.txt"
    "$python" -m pip wheel --quiet --no-deps --wheel-dir "$place/wheels" --require-hashes -r "$place/pure.txt"
    "$python" -m pip install --quiet --target "$place/site" $only --no-deps "$place"/wheels/*.whl
    cp requirements/runtime.txt "$place/site/.locked"
fi

exec env -i PATH=/usr/bin:/bin HOME="$place" LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH="$place/site:$PWD" CONTACTSYNC_CACHE_DIR="$place/cache" NUMBA_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
    qemu-aarch64-static -L "$place/root" "$place/root/usr/bin/python3.11" -m contactsync audit vectors
