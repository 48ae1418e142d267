#!/bin/sh
# Unit tests and the suite, without and with live features. Tests that cannot run here are named and counted at the end.
set -eu
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
# A test that hangs is named by the runner after a minute; the run ends long before anybody's patience does.
patience=2400
for features in --no-default-features --all-features; do
    echo "cargo test $features"
    # Skips are written past the test runner's capture; the runner's own status must survive the pipe.
    status=$( { { timeout --kill-after=10 "$patience" cargo test $features 2>&1; echo $? >&3; } | tee -a "$log" >&4; } 3>&1 ) 4>&1
    [ "$status" != 124 ] || echo "cargo test $features: not done after $patience s; see which tests have been running for over 60 seconds" >&2
    [ "$status" = 0 ] || exit "$status"
done
skipped="$(grep -c '^SKIPPED ' "$log" || true)"
echo "skipped for want of privileges or servers: $skipped"
grep '^SKIPPED ' "$log" | sort -u || true
