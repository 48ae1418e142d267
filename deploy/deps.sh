#!/bin/sh
# Installs what a target needs on Debian: deps.sh demo|build|test. Elsewhere it names what is missing.
set -eu

case "$1" in
    demo) needs="cc:gcc" ;;
    build) needs="cc:gcc pcap-config:libpcap-dev" ;;
    test) needs="cc:gcc c++:g++ pcap-config:libpcap-dev ip:iproute2 python3:python3 tcpdump:tcpdump" ;;
    *) echo "deps.sh: expected demo, build or test, not '$1'" >&2; exit 2 ;;
esac

missing=""
for need in $needs; do
    command -v "${need%%:*}" > /dev/null 2>&1 || missing="$missing ${need#*:}"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get > /dev/null 2>&1; then
    echo "deps.sh: please install (Debian names):$missing" >&2
    exit 1
fi
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -q > /dev/null
# shellcheck disable=SC2086  # a list of package names
$sudo apt-get install -y -q --no-install-recommends $missing > /dev/null
