# Sourced by the other scripts: leaves $python naming an interpreter that has what requirements-dev.txt or requirements.txt
# lists. POOLMGR_PYTHON chooses the interpreter, POOLMGR_VENV the place of the virtual environment.

venv="${POOLMGR_VENV:-$PWD/.venv}"
python="$venv/bin/python"

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# Can this interpreter run the project, and make a virtual environment? (Debian splits ensurepip off.)
fits() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || return 1
    "$1" -c 'import ensurepip, venv' 2>/dev/null && return 0
    without_venv="$without_venv $1"
    return 1
}

find_python() {
    without_venv=""
    for name in ${POOLMGR_PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        # Every place on PATH: the first python3 may be too old, or lack venv, where the second does not.
        for candidate in $(which_all "$name"); do
            fits "$candidate" && echo "$candidate" && return 0
        done
    done
    [ -z "$without_venv" ] ||
        fail "${without_venv# } can't make virtual environments: install its venv package (Debian: apt-get install python3-venv)."
    [ -z "${POOLMGR_PYTHON:-}" ] ||
        fail "POOLMGR_PYTHON=$POOLMGR_PYTHON is no Python 3.11 or newer."
    fail "no Python 3.11 or newer on PATH: install one (python.org, or your system's package manager), or set POOLMGR_PYTHON."
}

which_all() {
    case "$1" in
        */*) echo "$1" ;;
        *)
            (
                IFS=:
                for folder in $PATH; do
                    if [ -x "$folder/$1" ]; then echo "$folder/$1"; fi
                done
            )
            ;;
    esac
}

# Install what a requirements file lists, unless exactly this was installed before.
provide() {
    if [ ! -x "$python" ]; then
        # In two steps: the reason for a failure inside $(…) must end the script.
        base="$(find_python)" || exit 1
        echo "Making $venv with $("$base" --version)"
        "$base" -m venv "$venv" || fail "$venv could not be made: see above."
    fi
    stamp="$venv/.installed-$(echo "${1%.txt}" | tr / -)"
    wanted="$(cat requirements.txt "$1" | cksum) $("$python" --version)"
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        echo "Installing $1 (some minutes the first time)…"
        # An environment whose making was interrupted has no pip yet.
        "$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip >/dev/null 2>&1 || true
        # Wheels only: a newcomer has no compiler.
        "$python" -m pip install -qq --disable-pip-version-check --no-input --only-binary :all: --upgrade -r "$1" ||
            fail "the packages of $1 could not be installed: see above."
        echo "$wanted" >"$stamp"
    fi
}
