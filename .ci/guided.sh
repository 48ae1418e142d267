#!/bin/sh
# The release binary, shaped by a profile of itself: built so that it counts, fed what sensors meet (benches/whole/train.rs), built
# again by the counts. It takes a fifth less processor time than what `cargo build --release` makes.
#
#   guided.sh [--all-features | ...]    leaves target/guided/cleartap; arguments are cargo's
#   GUIDED_PROFILE=dev guided.sh ...    the same with little optimisation
set -eu
cd "$(dirname "$0")/.."
profile="${GUIDED_PROFILE:-release}"
case "$profile" in dev) folder=debug ;; *) folder="$profile" ;; esac
host="$(rustc -vV | sed -n 's/^host: //p')"
work="$PWD/target/guided"

# build NAME ARGUMENTS: with the target named, RUSTFLAGS are for the sensor alone, not for what runs while it is built.
build() {
    name="$1"
    shift
    cargo build --locked --profile "$profile" --target "$host" --target-dir "$work" "$@"
    cp "$work/$host/$folder/cleartap" "$work/$name"
}

profdata="$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata"
[ -x "$profdata" ] || ! command -v rustup > /dev/null 2>&1 || rustup --quiet component add llvm-tools || true
if [ ! -x "$profdata" ]; then
    echo "guided.sh: this Rust has no llvm-profdata (rustup component add llvm-tools): built without a profile, a fifth slower" >&2
    build cleartap "$@"
    exit 0
fi

plain="${RUSTFLAGS:-}"
rm -rf "$work/counts"
export RUSTC_WRAPPER="$PWD/.ci/counting-rustc.sh"
RUSTFLAGS="$plain -Cprofile-generate=$work/counts" build counting "$@"
env -u RUSTC_WRAPPER cargo bench --quiet --locked --profile dev --no-default-features --bench whole -- \
    --scale 0.02 --train --binary "$work/counting"
"$profdata" merge -o "$work/cleartap.profdata" "$work/counts"
RUSTFLAGS="$plain -Cprofile-use=$work/cleartap.profdata" build cleartap "$@"
# A profile changes how fast it is decided, never what.
for binary in counting cleartap; do "$work/$binary" analyze captures --flows "$work/$binary.jsonl" > /dev/null; done
cmp "$work/counting.jsonl" "$work/cleartap.jsonl"
