# shellcheck shell=bash
# What `run` and `test` share: messages, packages, processes, ports and a private database server.
#
# Nothing here touches a database server, a service or a folder that it did not make itself. All
# state lives under .local/ in the project (not in git); deleting that folder undoes everything but
# the installed packages.

# A script that was started in the background by another one has Ctrl-C's signal switched off, and
# bash cannot switch it on again; a fresh start with it switched on can.
if (($((0x$(awk '/^SigIgn/{print $2}' "/proc/$$/status") & 2)))); then
  exec env --default-signal=INT "$BASH" "$0" "$@"
fi

PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
LOCAL=$PROJECT/.local
TOOLS=$LOCAL/tools
# Debian's PATH for ordinary users lacks sbin, where the database servers are; rustup may have been
# installed by this very shell and not be on PATH yet.
PATH=$TOOLS/bin:$PATH:/usr/sbin:/sbin:${HOME:-/root}/.cargo/bin
export PATH
cd "$PROJECT" || exit 1

DB_READY_SECONDS_MAX=60
DB_STOP_SECONDS_MAX=30
# Longer than the server's own DRAIN_SECONDS (8), so that a drain is never cut short from here.
SERVER_STOP_SECONDS_MAX=20

# ---------------------------------------------------------------------------------------- messages

say() { printf '==> %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# ---------------------------------------------------------------------------------------- packages

have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root. Without a terminal sudo must not ask for a password: it would hang CI.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif have sudo; then
    if [ -t 0 ]; then sudo "$@"; else sudo -n "$@"; fi
  else
    warn "this needs root, and there is no sudo: $*"
    return 1
  fi
}

# apt asks a mirror that does not answer again by itself; what it gives up on is begun again by `persist`.
APT=(-o Acquire::Retries=3 -o Acquire::http::Timeout=60)
DOWNLOAD_ATTEMPTS_MAX=3
DOWNLOAD_PAUSE_SECONDS=5

# persist COMMAND...  runs what downloads, again if it failed.
persist() {
  local attempt
  for attempt in $(seq "$DOWNLOAD_ATTEMPTS_MAX"); do
    "$@" && return 0
    [ "$attempt" -lt "$DOWNLOAD_ATTEMPTS_MAX" ] || break
    warn "this failed, and is tried again in $((attempt * DOWNLOAD_PAUSE_SECONDS)) s: $*"
    sleep $((attempt * DOWNLOAD_PAUSE_SECONDS))
  done
  warn "this failed $DOWNLOAD_ATTEMPTS_MAX times: $*"
  return 1
}

# Once per run: a fresh machine or container has no package lists at all.
apt_update() {
  [ -z "${APT_UPDATED:-}" ] || return 0
  persist as_root env DEBIAN_FRONTEND=noninteractive apt-get "${APT[@]}" update -qq || return 1
  APT_UPDATED=yes
}

# apt_install PACKAGE...
# --no-remove: where a package would push out another one (the MariaDB and MySQL cores exclude each
# other), apt stops instead.
apt_install() {
  have apt-get || return 1
  say "installing with apt: $*"
  apt_update || return 1
  persist as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get "${APT[@]}" install -y -qq --no-install-recommends --no-remove "$@"
}

# apt_extract PACKAGE PATH_OF_PROGRAM
# Unpacks a program and the libraries it lacks under .local/tools, without installing anything.
# For programs whose package would also start a system service (prometheus, haproxy).
apt_extract() {
  local package=$1 program=$2 name root=$TOOLS/root wanted
  name=$(basename "$program")
  have apt-get && have dpkg-deb || return 1
  say "unpacking $name from the Debian package $package into .local/tools (not installed, no service)"
  apt_update || return 1
  # The C library of the system stays the one in use: a second one would not fit its loader.
  wanted=$(apt-get -s install --no-install-recommends "$package" 2>/dev/null |
    awk '/^Inst /{print $2}' | grep -Ev '^libc6$|^libc-bin$') || true
  [ -n "$wanted" ] || wanted=$package
  rm -rf "$TOOLS/debs"
  mkdir -p "$TOOLS/debs" "$root" "$TOOLS/bin"
  # shellcheck disable=SC2086  # a list of package names
  (cd "$TOOLS/debs" && persist apt-get "${APT[@]}" download -qq -o APT::Sandbox::User=root $wanted) || return 1
  local deb
  for deb in "$TOOLS"/debs/*.deb; do dpkg-deb -x "$deb" "$root" || return 1; done
  rm -rf "$TOOLS/debs"
  local libraries
  libraries=$root/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo "$(uname -m)-linux-gnu")
  cat >"$TOOLS/bin/$name" <<WRAPPER
#!/bin/sh
LD_LIBRARY_PATH='$libraries':'$root/usr/lib' exec '$root/$program' "\$@"
WRAPPER
  chmod +x "$TOOLS/bin/$name"
}

# Cargo, new enough, with a linker. Cargo itself is not installed from here: how to get it is the
# user's choice (rustup, a package, an image).
need_cargo() {
  have cargo || die "cargo was not found. Install Rust from https://rustup.rs
       (curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh), then run this again."
  local wanted found
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$PROJECT/Cargo.toml")
  found=$(cargo --version | awk '{print $2}')
  if [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
    die "Rust $found is too old: hyperdesk needs $wanted or newer (rustup update stable)."
  fi
  if ! have cc; then
    apt_install gcc libc6-dev ||
      die "no C compiler was found (cc), and Rust needs one to link. Install gcc and the C library's headers."
  fi
}

# need_disk MEGABYTES  of which what was built before has its part. A linker that finds the disk full says little of it.
need_disk() {
  local taken free
  taken=$({ du -sm "$LOCAL" "${CARGO_TARGET_DIR:-target}" 2>/dev/null || true; } | awk '{sum += $1} END {print sum + 0}')
  free=$(df -Pm . | awk 'NR == 2 {print $4}')
  ((taken + free >= $1)) ||
    die "this takes $1 MB of disk, of which $taken are taken already; there are $free MB free"
}

# --------------------------------------------------------------------------------------- processes

# spawn COMMAND...  sets SPAWNED to its process id.
# In a session of its own, so that Ctrl-C reaches only this script, which then stops things in the
# right order; and told by the kernel when this script is gone, so that not even kill -9 on the
# script leaves a server behind. The script's locks (descriptor 9) are not passed on.
spawn() {
  setsid setpriv --pdeathsig TERM -- "$@" 9>&- &
  SPAWNED=$!
}

# step COMMAND...  runs it to its end; a signal to the script ends it with all its children.
step() {
  spawn "$@"
  STEP_PID=$SPAWNED
  local status=0
  wait "$STEP_PID" || status=$?
  STEP_PID=
  return "$status"
}

# stop_process PID SECONDS NAME [WHOLE_GROUP]
stop_process() {
  local pid=$1 seconds=$2 name=$3 target=$1
  [ -n "${4:-}" ] && target=-$pid
  kill -TERM -- "$target" 2>/dev/null || return 0
  local tenths=$((seconds * 10))
  while kill -0 "$pid" 2>/dev/null; do
    if [ "$tenths" -le 0 ]; then
      warn "$name did not stop within $seconds s: killed"
      kill -KILL -- "$target" 2>/dev/null || true
      break
    fi
    tenths=$((tenths - 1))
    sleep 0.1
  done
  wait "$pid" 2>/dev/null || true
}

# Takes what was started down in the opposite order. Runs however the script ends.
stop_all() {
  local status=$?
  trap '' INT TERM HUP
  if [ -n "${STEP_PID:-}" ]; then stop_process "$STEP_PID" 10 "the running step" group; fi
  if [ -n "${SERVER_PID:-}" ]; then
    say "stopping the server"
    stop_process "$SERVER_PID" "$SERVER_STOP_SECONDS_MAX" "the server"
  fi
  if [ -n "${DB_PID:-}" ]; then
    say "stopping the database"
    stop_process "$DB_PID" "$DB_STOP_SECONDS_MAX" "the database"
  fi
  STEP_PID='' SERVER_PID='' DB_PID=''
  exit "$status"
}

stop_all_at_exit() {
  trap stop_all EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
}

# only_one NAME WHAT  keeps two of the same script from working in one folder.
only_one() {
  mkdir -p "$LOCAL"
  exec 9>"$LOCAL/$1.lock"
  flock -n 9 || die "$2 is already running in this folder. Stop it first, or use another clone."
}

# ------------------------------------------------------------------------------- ports and secrets

# Is somebody listening on this port of this machine?
port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port FIRST  prints the first port from FIRST on that nobody listens on.
free_port() {
  local port
  for ((port = $1; port < $1 + 200; port++)); do
    port_taken "$port" || {
      echo "$port"
      return 0
    }
  done
  die "no free port between $1 and $port"
}

# random_hex BYTES  (hex needs no escaping in SQL and in URLs)
random_hex() { od -An -v -tx1 -N "$1" /dev/urandom | tr -d ' \n'; }

# kept_secret NAME BYTES  prints a random secret, made once and readable by its owner only.
kept_secret() {
  local file=$LOCAL/$1
  if [ ! -s "$file" ]; then
    mkdir -p "$(dirname "$file")"
    (umask 077 && random_hex "$2" >"$file.new" && mv "$file.new" "$file")
  fi
  cat "$file"
}

# http_get PORT PATH  prints the answer's body; fails unless it is a 200. No curl on a fresh Debian.
http_get() {
  local answer
  answer=$(
    exec 2>/dev/null 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
    printf 'GET %s HTTP/1.0\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\n\r\n' "$2" "$1" >&3
    timeout 10 cat <&3
  ) || return 1
  [[ $answer == HTTP/1.?' 200'* ]] || return 1
  printf '%s\n' "${answer#*$'\r\n\r\n'}"
}

# ---------------------------------------------------------------------------------------- database

# Which product is wanted: mariadb, mysql, or empty for whichever is installed.
DB=${DB:-}

# db_kind PROGRAM  prints mariadb or mysql. The names do not tell: MariaDB's packages have a mysqld, too.
db_kind() {
  if "$1" --no-defaults --version | grep -qi mariadb; then echo mariadb; else echo mysql; fi
}

# db_program  prints the server program that is installed, of the product that is wanted.
db_program() {
  local program
  while read -r program; do
    if [ -z "$DB" ] || [ "$(db_kind "$program")" = "$DB" ]; then
      echo "$program"
      return 0
    fi
  done < <(type -aP mariadbd mysqld)
  return 1
}

# Makes sure that there is one.
need_database_program() {
  db_program >/dev/null && return 0
  local advice="Install MariaDB or MySQL (the server program mariadbd or mysqld must be on PATH),
       or use a server that you have: --help says how."
  have apt-get || die "there is no ${DB:-MariaDB or MySQL} server program, and no apt-get to get it with. $advice"
  if [ "$DB" = mysql ]; then
    mysql_unpack || die "no MySQL server could be had with apt. $advice"
  else
    mariadb_install || die "no MariaDB server could be had with apt. $advice"
  fi
  db_program >/dev/null || die "the packages are there, but there is no server program of ${DB:-mariadb}. $advice"
}

# Only the "core" packages: they bring the program and no service, so nothing starts on port 3306. Their names
# carry a version on older systems.
mariadb_install() {
  say "no MariaDB server program is installed"
  apt_update || return 1
  local version
  for version in '' -10.11 -10.6 -10.5 -10.3; do
    if apt-cache show "mariadb-server-core$version" >/dev/null 2>&1; then
      apt_install "mariadb-server-core$version" "mariadb-client-core$version"
      return
    fi
  done
  warn "apt knows no mariadb-server-core"
  return 1
}

# Unpacks MySQL's server under .local/tools with every library it needs, down to the C library's loader, so
# that it runs whatever the system has, beside MariaDB's packages (the two exclude each other) and without
# root. Ubuntu has it among its own packages; Debian has it in its unstable branch only.
mysql_unpack() {
  local apt=$TOOLS/apt root=$TOOLS/mysql package=mysql-server-core own=
  say "unpacking MySQL's server and its libraries into .local/tools/mysql (about 250 MB, not installed, no service)"
  rm -rf "$apt" "$root" "$root.new"
  mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$root.new" "$TOOLS/bin"
  # A state of apt's own in which nothing is installed: so it fetches all that is depended on.
  : >"$apt/status"
  local options=(-o "Dir::State=$apt" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt"
    -o APT::Sandbox::User=root)
  # Without root the lists that are there must do; on Debian they do not matter.
  apt_update || true
  for own in mysql-server-core-8.4 mysql-server-core-8.0 ''; do
    [ -z "$own" ] || [ -z "$(apt-cache madison "$own" 2>/dev/null)" ] || break
  done
  if [ -n "$own" ]; then
    package=$own
  else
    debian_unstable >"$apt/sources.list" || return 1
    options+=(-o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null)
  fi
  persist apt-get "${APT[@]}" "${options[@]}" -qq update || return 1
  persist apt-get "${APT[@]}" "${options[@]}" -qq -y --no-install-recommends --download-only install "$package" ||
    return 1
  local deb
  for deb in "$apt"/archives/*.deb; do
    # Of its scripts in Perl none is used.
    case ${deb##*/} in perl* | libperl*) continue ;; esac
    dpkg-deb -x "$deb" "$root.new" || return 1
  done
  rm -rf "$apt" "$root.new"/usr/share/{doc,man,locale}
  mv "$root.new" "$root"
  mysql_wrapper "$root"
}

# debian_unstable  prints that branch's source line, for the mirror that this system uses.
debian_unstable() {
  local mirror keys=/usr/share/keyrings/debian-archive-keyring.gpg trusted=
  # shellcheck disable=SC2016  # apt's own variable
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' |
    head -n 1)
  if [ -z "$mirror" ]; then
    warn "apt has no list of packages of Debian (this knows Debian and Ubuntu)"
    return 1
  fi
  [ ! -e "$keys" ] || trusted="[signed-by=$keys] "
  echo "deb $trusted$mirror sid main"
}

# mysql_wrapper ROOT  makes .local/tools/bin/mysqld. Its own options come last: --no-defaults, where given, has to
# be the first.
mysql_wrapper() {
  local root=$1 loader libraries
  loader=$(find "$root" -name 'ld-linux*.so.*' | head -n 1)
  libraries=$(find "$root" -name 'libstdc++.so.6' -printf '%h\n' | head -n 1)
  [ -n "$loader" ] && [ -n "$libraries" ] || return 1
  cat >"$TOOLS/bin/mysqld" <<WRAPPER
#!/bin/sh
exec '$loader' --library-path '$libraries:${loader%/*}:$root/usr/lib/mysql/private' '$root/usr/sbin/mysqld' "\$@" \\
  --basedir='$root/usr' --lc-messages-dir='$root/usr/share/mysql' \\
  --character-sets-dir='$root/usr/share/mysql/charsets' --plugin-dir='$root/usr/lib/mysql/plugin'
WRAPPER
  chmod +x "$TOOLS/bin/mysqld"
}

# db_create DIR  makes a new, empty data folder. In a folder beside it first: one that was
# interrupted half-way is thrown away instead of used.
db_create() {
  local dir=$1 program as_user=()
  program=$(db_program)
  # The servers refuse to run as root unless told that this is meant (containers, CI).
  [ "$(id -u)" -ne 0 ] || as_user=(--user=root)
  rm -rf "$dir/data.new"
  mkdir -p "$dir/tmp"
  say "creating a database folder in ${dir#"$PROJECT"/}"
  if [ "$(db_kind "$program")" = mariadb ]; then
    local install
    install=$(command -v mariadb-install-db || command -v mysql_install_db) ||
      die "$program has no mariadb-install-db beside it: install the rest of its package"
    # root may come in through the socket only, and only as the user who runs this.
    "$install" --no-defaults "${as_user[@]}" --datadir="$dir/data.new" --tmpdir="$dir/tmp" \
      --skip-test-db --auth-root-authentication-method=socket \
      --auth-root-socket-user="$(id -un)" >"$dir/create.log" 2>&1 ||
      die "mariadb-install-db failed: $(tail -n 5 "$dir/create.log")"
  else
    mkdir -p "$dir/data.new"
    "$program" --no-defaults "${as_user[@]}" --initialize-insecure --datadir="$dir/data.new" \
      --tmpdir="$dir/tmp" --secure-file-priv="$dir/tmp" >"$dir/create.log" 2>&1 ||
      die "mysqld --initialize-insecure failed: $(tail -n 5 "$dir/create.log")
       (On Ubuntu, AppArmor may keep mysqld out of this folder: see /etc/apparmor.d/usr.sbin.mysqld.)"
  fi
  # MySQL's root has no password, but may only come in through the socket, which lies in here.
  chmod 700 "$dir/data.new"
  "$program" --no-defaults --version >"$dir/made-by"
  mv "$dir/data.new" "$dir/data"
}

# db_accounts PASSWORD [ADMIN_PASSWORD]  prints the statements that the server runs at every start.
# The application's user has rights on its own schema only. Both names of this machine, because with
# --skip-name-resolve a connection over TCP is from 127.0.0.1 and never from localhost.
db_accounts() {
  local password=$1 admin=${2:-} host
  echo "CREATE DATABASE IF NOT EXISTS hyperdesk CHARACTER SET utf8mb4;"
  for host in localhost 127.0.0.1; do
    echo "CREATE USER IF NOT EXISTS 'hyperdesk'@'$host' IDENTIFIED BY '$password';"
    echo "ALTER USER 'hyperdesk'@'$host' IDENTIFIED BY '$password';"
    echo "GRANT ALL PRIVILEGES ON hyperdesk.* TO 'hyperdesk'@'$host';"
  done
  [ -n "$admin" ] || return 0
  echo "CREATE USER IF NOT EXISTS 'root'@'127.0.0.1' IDENTIFIED BY '$admin';"
  echo "ALTER USER 'root'@'127.0.0.1' IDENTIFIED BY '$admin';"
  echo "GRANT ALL PRIVILEGES ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;"
}

# A server from an earlier run that outlived it (kill -9 where the kernel could not tell it).
db_stop_leftover() {
  local dir=$1 pid
  pid=$(cat "$dir/pid" 2>/dev/null) || return 0
  if [ -r "/proc/$pid/cmdline" ] && tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qxF -- "--datadir=$dir/data"; then
    say "stopping a database that an earlier run left behind"
    stop_process "$pid" "$DB_STOP_SECONDS_MAX" "the old database"
  fi
  rm -f "$dir/pid"
}

# Does a database server greet on this port? It greets only once its accounts are made.
db_greets() {
  (
    exec 2>/dev/null 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
    [ "$(timeout 2 head -c 5 <&3 | wc -c)" -eq 5 ]
  )
}

# db_start DIR FIRST_PORT ACCOUNTS [OPTION...]  sets DB_PID and DB_PORT.
# ACCOUNTS are statements (db_accounts). The port is remembered in DIR; if somebody else has it by
# now, another one is taken. The socket's name is relative to the data folder, so that the length of
# the project's path does not matter (108 bytes is the limit).
db_start() {
  local dir=$1 first=$2 accounts=$3 program as_user=()
  shift 3
  need_database_program
  program=$(db_program)
  [ "$(id -u)" -ne 0 ] || as_user=(--user=root)
  mkdir -p "$dir"
  chmod 700 "$dir"
  db_stop_leftover "$dir"
  [ -d "$dir/data" ] || db_create "$dir"
  db_fits "$dir"
  DB_PORT=$(cat "$dir/port" 2>/dev/null || echo "$first")
  ! port_taken "$DB_PORT" || DB_PORT=$(free_port "$first")
  echo "$DB_PORT" >"$dir/port"
  (umask 077 && printf '%s\n' "$accounts" >"$dir/accounts.sql")
  : >"$dir/server.log"
  spawn "$program" --no-defaults "${as_user[@]}" --datadir="$dir/data" --socket=db.sock \
    --pid-file="$dir/pid" --log-error="$dir/server.log" --tmpdir="$dir/tmp" --secure-file-priv="$dir/tmp" \
    --init-file="$dir/accounts.sql" --bind-address=127.0.0.1 --port="$DB_PORT" \
    --skip-name-resolve --skip-log-bin --loose-mysqlx=OFF --local-infile=OFF \
    --character-set-server=utf8mb4 --innodb-buffer-pool-size=128M --max-connections=200 \
    --innodb-flush-log-at-trx-commit=1 --performance-schema=OFF "$@" >>"$dir/server.log" 2>&1
  DB_PID=$SPAWNED
  local tenths=$((DB_READY_SECONDS_MAX * 10))
  until db_greets "$DB_PORT"; do
    kill -0 "$DB_PID" 2>/dev/null || die "the database server ended at once. Its log, ${dir#"$PROJECT"/}/server.log:
$(tail -n 15 "$dir/server.log")"
    tenths=$((tenths - 1))
    [ "$tenths" -gt 0 ] || die "the database is not ready after $DB_READY_SECONDS_MAX s: see ${dir#"$PROJECT"/}/server.log"
    sleep 0.1
  done
  rm -f "$dir/accounts.sql"
  say "the database is up: $(db_kind "$program") $("$program" --no-defaults --version | sed 's/.* Ver \([^ ]*\).*/\1/'), port $DB_PORT, folder ${dir#"$PROJECT"/}"
}

# db_fits DIR  makes sure that the server program can read the data in it, if there is any.
db_fits() {
  local made
  made=$(db_made_by "$1")
  [ -z "$made" ] || [ "$made" = "$(db_kind "$(db_program)")" ] ||
    die "the data in ${1#"$PROJECT"/} was made by $made, and $(db_program) cannot read it.
       Delete that folder to begin anew."
}

# db_made_by DIR  prints whose data is in it, if there is any.
db_made_by() {
  [ ! -f "$1/made-by" ] || if grep -qi mariadb "$1/made-by"; then echo mariadb; else echo mysql; fi
}

# ------------------------------------------------------------------------------------------ server

# What is built: `release`, or `local`, which is not optimised as a whole and is there sooner. Whoever sources this says so.
BUILD_PROFILE=${BUILD_PROFILE:-release}
HYPERDESK=${HYPERDESK:-$PROJECT/target/$BUILD_PROFILE/hyperdesk}

build_server() { step cargo build --profile "$BUILD_PROFILE" --locked; }

# server_start PORT METRICS_PORT  sets SERVER_PID; the rest of its settings come by environment.
server_start() {
  local port=$1
  PORT=$1 METRICS_PORT=$2 spawn "$HYPERDESK" serve
  SERVER_PID=$SPAWNED
  local tenths=600
  until http_get "$port" /health >/dev/null; do
    kill -0 "$SERVER_PID" 2>/dev/null || {
      SERVER_PID=
      die "the server ended at once: its last lines above say why"
    }
    tenths=$((tenths - 1))
    [ "$tenths" -gt 0 ] || die "the server does not answer on port $port after 60 s"
    sleep 0.1
  done
}
