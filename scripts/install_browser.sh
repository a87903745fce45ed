#!/usr/bin/env bash
# Installs what some tests look for, on a Debian machine: Chromium, which opens pages, ffmpeg, which
# makes films, and pdftotext, which reads what was printed.
# Where it cannot, it says so; those tests are then skipped with their reason.
set -euo pipefail

missing=()
command -v chromium > /dev/null || command -v chromium-browser > /dev/null || missing+=(chromium)
command -v ffmpeg > /dev/null || missing+=(ffmpeg)
command -v pdftotext > /dev/null || missing+=(poppler-utils)
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
  echo "without ${missing[*]}: not root, or no apt-get here; the tests that need them are skipped"
  exit 0
fi
echo "installing ${missing[*]} …"
export DEBIAN_FRONTEND=noninteractive
if ! output=$({ apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } 2>&1); then
  tail -n 5 <<< "$output"
  echo "without ${missing[*]}: could not be installed; the tests that need them are skipped"
fi
