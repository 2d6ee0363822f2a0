#!/usr/bin/env bash
# Installs the Debian packages that building, testing and the lab need, and says
# why each is wanted. Only what is missing is installed; only that needs root.
set -euo pipefail
need=(
  "qemu-system-x86:runs the guests"
  "qemu-utils:qemu-nbd and qemu-img, foreign clients of our volumes"
  "ovmf:UEFI firmware of guests"
  "seabios:BIOS firmware of guests"
  "fio:measures, and verifies with its nbd engine"
  "libnbd-bin:nbdinfo and nbdcopy, foreign clients of our volumes"
  "python3-libnbd:nbdsh, our protocol tests by hand"
  "nbdkit:a foreign server for our NBD client"
  "debian-installer-12-netboot-amd64:a guest that nobody here wrote"
  "memtest86+:another one"
  "mtools:reads the image's ESP, in tests"
  "dosfstools:checks the image's ESP, in tests"
  "cpio:lists the image's initial file system, in tests"
  "sbsigntool:checks the image's signatures, in tests"
  "openssl:makes the keys of a foreign Secure Boot, in tests"
  "git:the image's time is that of the last commit"
  "chromium:the browser that citizens' tests use"
)
missing=()
for line in "${need[@]}"; do
  p=${line%%:*}
  if ! dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null | grep -q '^ii'; then
    missing+=("$p")
    echo "missing: $p (${line#*:})"
  fi
done
command -v go >/dev/null || { echo "Go 1.26 or newer is needed (https://go.dev)"; exit 1; }
[ ${#missing[@]} -eq 0 ] && exit 0
as_root=()
if [ "$(id -u)" != 0 ]; then
  echo "Root is needed to install these packages."
  as_root=(sudo)
fi
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
