#!/bin/sh
# Builds the image of the Containerfile where no registry can be reached, and runs it: as root, on Debian, with the
# packages buildah and debootstrap. It takes some minutes, most of them to compile kernels.
#
#   release/try_container.sh WHEEL EMPTY-FOLDER
#
# The base is a Debian made by debootstrap, under the name that the Containerfile has. Packages come from a folder of
# wheels in it, so that no RUN line needs a network. All RUN lines are those of the Containerfile, unchanged.
set -eu
wheel=$(realpath "$1")
place=$(realpath "$2")
here=$(dirname "$(realpath "$0")")
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
base=docker.io/library/python:3.12-slim

debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$place/root"
ln -s /usr/bin/python3 "$place/root/usr/local/bin/python"
mkdir "$place/root/wheels" "$place/context"
chroot "$place/root" python --version
python3 -m venv "$place/pip"
"$place/pip/bin/pip" wheel --quiet --wheel-dir "$place/root/wheels" "${wheel}[postgres]"
printf '[global]\nno-index = true\nfind-links = /wheels\n' > "$place/root/etc/pip.conf"

container=$(buildah from scratch)
tar -C "$place/root" -c . > "$place/root.tar"
buildah add --quiet "$container" "$place/root.tar" /
buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
buildah commit --quiet "$container" "$base"
buildah rm "$container" > /dev/null

cp "$wheel" "$place/context/"
cp "$here/../contactsync/deploy/container/Containerfile" "$place/context/"
buildah bud --pull-never --format docker --tag contactsync-tried --file "$place/context/Containerfile" "$place/context"

container=$(buildah from --pull-never contactsync-tried)
buildah run "$container" -- sh -ec '
  test "$(id -u)" = 4400
  contactsync server init
  contactsync server serve --port 18440 > /tmp/said 2> /tmp/log &
  for _ in $(seq 300); do grep -q listening /tmp/said && break; sleep 0.1; done
  cat /tmp/said
  grep -q listening /tmp/said
  ! grep -q compiling /tmp/log
  kill $!
  wait $! || true
'
buildah rm "$container" > /dev/null
echo "the image was built, and serves as user 4400 with the kernels that were compiled for it"
