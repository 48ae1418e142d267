#!/bin/sh
# Builds the fuzz targets with coverage instrumentation on the stable toolchain and runs them, seeded with the captures.
# As it stands: a fixed number of inputs from a fixed seed, the same on every machine. To look for new ones: FUZZ_SECONDS
# for each target, from a seed of its own (FUZZ_SEED to repeat one) and on top of what was found before.
# A crash fails and leaves its input in tests/fuzz/artifacts/.
set -eu
cd "$(dirname "$0")"
found=corpus
if [ -n "${FUZZ_SECONDS:-}" ]; then
    seed="${FUZZ_SEED:-$(date +%s)}"
else
    seed=20261123
    found=$(mktemp -d)
    trap 'rm -rf "$found"' EXIT
fi

RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=1" \
    cargo build --release --quiet --target "$(rustc -vV | sed -n 's/^host: //p')"
bin="target/$(rustc -vV | sed -n 's/^host: //p')/release"

rm -rf seeds
mkdir -p artifacts
find ../../captures -name '*.pcap' -print0 | sort -z | xargs -0 "$bin/seeds" > artifacts/seeds.log 2>&1 || {
    tail -40 artifacts/seeds.log
    exit 1
}
run() {
    target=$1
    inputs=$2
    if [ -n "${FUZZ_SECONDS:-}" ]; then
        limit="-max_total_time=$FUZZ_SECONDS"
    else
        limit="-runs=$inputs -reload=0"
    fi
    echo "fuzzing $target: $limit -seed=$seed"
    mkdir -p "$found/$target"
    # shellcheck disable=SC2086
    "$bin/$target" -seed="$seed" $limit -max_len=8192 -timeout=10 -rss_limit_mb=2048 \
        -artifact_prefix=artifacts/ "$found/$target" "seeds/$target" > "artifacts/$target.log" 2>&1 || {
        tail -40 "artifacts/$target.log"
        exit 1
    }
    tail -1 "artifacts/$target.log"
}
run frame 60000
run detect 40000
run file 1000000
