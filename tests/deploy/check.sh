#!/bin/sh
# deploy/: templates linted and scanned, deployed into emulators, dashboards asking only for what there is, unit hardened.
# Tools are in target/deploy-tools, emulators in target/aws-emulators (`.ci/deps.sh test`). Argument: the sensor, if it is built.
set -eu
cd "$(dirname "$0")/../.."
tools=target/deploy-tools/bin
python=target/aws-emulators/bin/python
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export PYTHONDONTWRITEBYTECODE=1

echo "cfn-lint"
"$tools/cfn-lint" deploy/cloudformation/*.yaml

# A scanner looks at what the defaults make; the other branch is scanned as well. Exceptions stand in the files, with reasons.
echo "checkov"
sed -e '/^  Mode:/,/Default/s/Default: single/Default: fleet/' -e 's/Default: "no"/Default: "yes"/' \
    -e '/^  SessionKeeper:/,/Default/s/Default: plan/Default: apply/' -e 's/Default: ""/Default: "some"/' \
    deploy/cloudformation/cleartap.yaml > "$work/everything.yaml"
scan() {
    "$tools/checkov" --skip-download --quiet --compact --framework "$@" > "$work/scan" 2>&1 || { cat "$work/scan"; exit 1; }
    grep -h "Passed checks" "$work/scan" | sed "s/^/  /"
}
scan cloudformation -f deploy/cloudformation/cleartap.yaml deploy/cloudformation/sources.yaml "$work/everything.yaml"
scan kubernetes -f deploy/kubernetes/cleartap.yaml
scan dockerfile -f deploy/container/Dockerfile

echo "kubernetes-validate, hadolint"
"$tools/kubernetes-validate" --quiet --strict deploy/kubernetes/cleartap.yaml
"$tools/hadolint" deploy/container/Dockerfile

echo "alarms and dashboards"
"$python" tests/deploy/grafana.py --check
"$python" tests/deploy/metrics.py

if [ $# -gt 0 ]; then
    echo "sizing"
    "$python" tests/deploy/sizing.py --check "$1"
    echo "containers"
    "$python" tests/deploy/containers.py "$1"
fi

echo "stack, in emulators"
"$python" tests/deploy/stack.py "$@"

if command -v systemd-analyze > /dev/null 2>&1; then
    for unit in deploy/systemd/*.service; do
        score="$(systemd-analyze security --offline=yes --no-pager "$unit" | sed -n 's/.*exposure level for .*: \([0-9.]*\) .*/\1/p')"
        echo "systemd-analyze security $(basename "$unit"): $score"
        [ "$(printf '%s\n2.0\n' "$score" | sort -n | head -1)" = "$score" ] || { echo "more than 2.0" >&2; exit 1; }
    done
fi
if command -v nft > /dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    unshare --net nft --check --file deploy/systemd/cleartap.nft && echo "nft: rules are in order"
fi
