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
profdata="$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata"
work="$PWD/target/guided"

# build ARGUMENTS: with the target named, RUSTFLAGS are for the sensor alone, not for what runs while it is built.
build() {
    cargo build --locked --profile "$profile" --target "$host" --target-dir "$work" "$@"
}
if [ -x "$profdata" ]; then
    plain="${RUSTFLAGS:-}"
    rm -rf "$work/counts"
    export RUSTC_WRAPPER="$PWD/.ci/counting-rustc.sh"
    RUSTFLAGS="$plain -Cprofile-generate=$work/counts" build "$@"
    cp "$work/$host/$folder/cleartap" "$work/counting"
    env -u RUSTC_WRAPPER cargo bench --quiet --locked --profile dev --no-default-features --bench whole -- \
        --scale 0.02 --train --binary "$work/counting"
    "$profdata" merge -o "$work/cleartap.profdata" "$work/counts"
    export RUSTFLAGS="$plain -Cprofile-use=$work/cleartap.profdata"
else
    echo "guided.sh: this Rust has no llvm-profdata (rustup component add llvm-tools): built without a profile, a fifth slower" >&2
fi
build "$@"
cp "$work/$host/$folder/cleartap" "$work/cleartap"
# A profile changes how fast it is decided, never what.
if [ -x "$profdata" ]; then
    for binary in counting cleartap; do "$work/$binary" analyze captures --flows "$work/$binary.jsonl" > /dev/null; done
    cmp "$work/counting.jsonl" "$work/cleartap.jsonl"
fi
"$work/cleartap" --version
