#!/bin/sh
# rustc, but the AWS SDKs do not count: most of the sensor's code, hardly ever run, and what counts cannot be left out of the binary
# for never being called. Cargo's RUSTC_WRAPPER in guided.sh.
set -eu
case " $* " in
    *" --crate-name aws_"*)
        for argument in "$@"; do
            shift
            case "$argument" in -Cprofile-generate=*) ;; *) set -- "$@" "$argument" ;; esac
        done
        ;;
esac
exec "$@"
