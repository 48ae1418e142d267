#!/bin/sh
# Builds the fuzz targets with coverage instrumentation on the stable toolchain and runs each for a short time
# (FUZZ_SECONDS, default 20), seeded with the captures. A crash fails and leaves its input in tests/fuzz/artifacts/.
set -eu
cd "$(dirname "$0")"
seconds="${FUZZ_SECONDS:-20}"

RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=1" \
    cargo build --release --quiet --target "$(rustc -vV | sed -n 's/^host: //p')"
bin="target/$(rustc -vV | sed -n 's/^host: //p')/release"

mkdir -p artifacts
find ../../captures -name '*.pcap' -print0 | sort -z | xargs -0 "$bin/seeds" > artifacts/seeds.log 2>&1 || {
    tail -40 artifacts/seeds.log
    exit 1
}
for target in frame detect file; do
    echo "fuzzing $target for $seconds s"
    "$bin/$target" -seed=20261123 -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=2048 \
        -artifact_prefix=artifacts/ "corpus/$target" > "artifacts/$target.log" 2>&1 || {
        tail -40 "artifacts/$target.log"
        exit 1
    }
    tail -1 "artifacts/$target.log"
done
