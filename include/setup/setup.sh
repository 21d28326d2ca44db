#!/usr/bin/env bash
# Installs the project into .venv: `include/setup/setup.sh [main|cloud|dev]`; cloud adds the loopback clouds. Does nothing, quickly, when nothing has changed.
# PYTHON=... chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/../.."

kind=${1:-main}
requirements=(requirements.txt)
[ "$kind" = cloud ] && requirements+=(requirements-cloud.txt)
[ "$kind" = dev ] && requirements+=(requirements-cloud.txt requirements-dev.txt)
venv=$PWD/.venv
stamp=$venv/.installed-$kind
log=$PWD/var/logs/setup.log
cpu_wheels=https://download.pytorch.org/whl/cpu

die() { # message, what to do
    printf '\nsetup: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf 'To fix: %s\n' "$2" >&2
    exit 1
}

# What the environment depends on: the requirement files, this script, the interpreter, the place.
wanted() {
    { cat requirements.txt requirements-cloud.txt requirements-dev.txt constraints.txt include/setup/setup.sh; echo "$PWD ${PYTHON:-}"; } |
        sha256sum | cut -d' ' -f1
}

is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        is_supported "$PYTHON" || die "PYTHON=$PYTHON is not Python 3.11 or 3.12 ($("$PYTHON" -V 2>&1 || true))" \
            "give the path of one, e.g. make setup PYTHON=/usr/bin/python3.11"
        echo "$PYTHON"
        return
    fi
    for candidate in python3 python3.12 python3.11; do
        if is_supported "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    die "Python 3.11 or 3.12 is needed; python3 here is: $(python3 -V 2>&1 || echo 'not installed')" \
        "apt-get install python3 python3-venv (Debian 12), or make setup PYTHON=/path/to/python3.11"
}

# Not the size of what is installed but with the downloads and unpacking beside it.
check_disk() { # GiB
    local free
    free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
    [ "$free" -ge "$1" ] || die "only $free GiB are free here, the installation needs $1" \
        "free some space, or clone to another disk"
}

make_venv() { # python
    [ -x "$venv/bin/python" ] && [ -f "$venv/.place" ] && [ "$(cat "$venv/.place")" = "$venv" ] &&
        is_supported "$venv/bin/python" && return
    rm -rf "$venv"
    if "$1" -c 'import ensurepip' 2>/dev/null; then
        "$1" -m venv "$venv" >>"$log" 2>&1 || die "cannot create $venv" "see $log"
    else # Debian without python3-venv: the system's pip can fill an environment that has none
        "$1" -m venv --without-pip "$venv" >>"$log" 2>&1 &&
            "$1" -m pip --python "$venv/bin/python" install pip >>"$log" 2>&1 ||
            die "$1 can make no virtual environment with pip in it" "apt-get install python3-venv"
    fi
    echo "$venv" >"$venv/.place"
}

explain_failure() {
    printf '\nThe last lines of %s:\n' "$log" >&2
    tail -n 15 "$log" | cut -c1-200 | sed 's/^/    /' >&2
    if grep -qE 'No space left on device|Errno 28' "$log"; then
        die "the disk is full" "free about 4 GiB and run it again: what is installed is kept"
    elif grep -qE 'NewConnectionError|Temporary failure in name resolution|Network is unreachable|ProxyError|ConnectTimeout|ReadTimeout' "$log"; then
        die "the package index cannot be reached" "check the network, a proxy (HTTPS_PROXY) or pip's index-url, and run it again"
    fi
    die "installing failed" "see $log"
}

# pip with its chatter in the log; on a terminal one line shows what it is at, else one every 20 seconds.
pip_quietly() {
    "$venv/bin/python" -m pip --disable-pip-version-check --no-input "$@" >>"$log" 2>&1 &
    local pid=$! line said=0
    trap 'kill $pid 2>/dev/null' INT TERM
    while kill -0 $pid 2>/dev/null; do
        line=$(grep -E '^(Collecting|Downloading|  Downloading|Installing)' "$log" | tail -n 1 | cut -c1-60 || true)
        if [ -t 1 ]; then
            printf '\r\033[2K  %4d s  %s' $((SECONDS - begun)) "$line"
            sleep 0.5
        else
            [ $((SECONDS - said)) -lt 20 ] || { printf '  %4d s  %s\n' $((SECONDS - begun)) "$line"; said=$SECONDS; }
            sleep 1
        fi
    done
    [ ! -t 1 ] || printf '\r\033[2K'
    trap - INT TERM
    wait $pid
}

# Without an NVIDIA GPU, PyTorch's CPU build: 0.2 GB where the default build brings several GB of CUDA.
# Installed first and alone, so that nothing pip tries while it resolves the rest can fetch another build.
install_torch() {
    local torch
    torch=$(grep -E '^torch==' requirements.txt)
    "$venv/bin/python" -m pip freeze 2>/dev/null | grep -qE "^${torch//./\\.}(\+.*)?$" && return
    if has_gpu; then
        check_disk 12
    elif brings_cuda "$torch"; then
        echo "  no NVIDIA GPU: taking PyTorch's CPU build"
        pip_quietly install --no-deps --index-url "$cpu_wheels" "$torch" && return
        echo "  $cpu_wheels cannot be reached: taking the default build, which brings CUDA (several GB)"
        check_disk 12
    fi
    pip_quietly install --no-deps "$torch" || explain_failure
}

has_gpu() {
    command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1
}

# Whether the build that pip would take by default depends on NVIDIA's libraries.
brings_cuda() { # requirement
    "$venv/bin/python" -m pip install --quiet --dry-run --no-deps --ignore-installed --report - "$1" 2>>"$log" |
        grep -E '^ *"(nvidia|cuda)[-_a-z0-9]*' >/dev/null
}

# plugins/ and include/ importable, and the command line.
install_ourselves() {
    local site
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
    printf '%s\n' "$PWD/plugins" "$PWD/include" >"$site/nightshift.pth"
    cat >"$venv/bin/nightshift" <<EOF
#!$venv/bin/python
import sys

from nightshift.cli.main import main

sys.exit(main())
EOF
    chmod +x "$venv/bin/nightshift"
}

begun=$SECONDS
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(wanted)" ]; then
    mkdir -p var
    printf '{"seconds": 0}\n' >var/setup.json # nothing to do this time: the demo tells it
    exit 0
fi

python=$(find_python)
mkdir -p "$(dirname "$log")"
: >"$log"
echo "setup: about 3 minutes and 3 GB; the download of torch and the unpacking at the end take the longest"
echo "setup: installing into .venv with $("$python" -V 2>&1) (log: var/logs/setup.log)"
[ -x "$venv/bin/airflow" ] || check_disk 5
make_venv "$python"
pip_quietly install --upgrade 'pip>=25' || explain_failure
install_torch
arguments=()
for file in "${requirements[@]}"; do arguments+=(-r "$file"); done
pip_quietly install "${arguments[@]}" || explain_failure
install_ourselves
wanted >"$stamp"
[ "$kind" = main ] || cp "$stamp" "$venv/.installed-main"
[ "$kind" = dev ] && cp "$stamp" "$venv/.installed-cloud"
took=$((SECONDS - begun))
[ "$kind" = dev ] && [ -f var/setup.json ] || printf '{"seconds": %d, "python": "%s"}\n' "$took" "$("$venv/bin/python" -V | cut -d' ' -f2)" >var/setup.json
echo "setup: done in $took s"
