# shellcheck shell=bash
# The steps `cloud`, `cloud-terraform` and `cloud-bundle` of deploy/local/test: all of deploy/ that can be checked without a
# cloud.

# shellcheck source=deploy/checks/tools.sh
. "$PROJECT/deploy/checks/tools.sh"

part() { printf -- '-- %s\n' "$*"; }

check_scripts() {
  part "scripts"
  step "$VENV/bin/shellcheck" -x -P "$PROJECT" deploy/local/{run,test,lib.sh} deploy/checks/*.sh deploy/eb/bundle \
    deploy/balancer/try deploy/loadtest/run deploy/eb/files/bin/hyperdesk deploy/eb/files/.platform/*/*/*.sh
}

check_beanstalk() {
  part "Elastic Beanstalk"
  local template=$LOCAL/eb-template.json
  step "$VENV/bin/python" deploy/checks/eb.py options
  "$VENV/bin/python" deploy/checks/eb.py template >"$template"
  step "$VENV/bin/cfn-lint" --template "$template"
}

check_image() {
  part "image and compose file"
  step "$VENV/bin/hadolint" deploy/docker/Dockerfile
  step "$VENV/bin/check-jsonschema" --builtin-schema vendor.compose-spec deploy/docker/compose.yml
}

check_monitoring() {
  part "Prometheus and Grafana"
  need_promtool
  promtool check config deploy/prometheus/prometheus.yml
  promtool check rules deploy/prometheus/rules.yml
  (cd deploy/prometheus && promtool test rules rules_test.yml)
  # What the step `smoke` left, if it is of this binary; else of a server that was hardly asked.
  if ! [ "$LOCAL/metrics.txt" -nt "$HYPERDESK" ]; then
    smoke_server mariadb
    # A statement, and a route's figures.
    http_get "$SMOKE_PORT" /date_time >/dev/null || die "/date_time did not answer with 200"
    smoke_end
  fi
  need_cloud_tools
  step "$VENV/bin/python" deploy/checks/metrics.py "$LOCAL/metrics.txt"
}

# check_fronts  the configurations of nginx and haproxy, as the programs see them: with a certificate, and ports that
# nobody needs root for.
check_fronts() {
  part "nginx and haproxy"
  apt_program nginx nginx-light usr/sbin/nginx
  need_haproxy
  local dir=$LOCAL/fronts
  rm -rf "$dir"
  mkdir -p "$dir/eb" "$dir/certs" "$dir/tmp"
  step openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=desk.example.com \
    -keyout "$dir/key.pem" -out "$dir/chain.pem" 2>/dev/null
  cat "$dir/chain.pem" "$dir/key.pem" >"$dir/certs/desk.pem"
  sed -e "s#/etc/letsencrypt/live/desk.example.com/fullchain.pem#$dir/chain.pem#" \
    -e "s#/etc/letsencrypt/live/desk.example.com/privkey.pem#$dir/key.pem#" deploy/nginx/hyperdesk.conf >"$dir/single.conf"
  nginx_takes "$dir" "include $dir/single.conf;"
  # As Beanstalk's nginx.conf includes them.
  cp -R deploy/eb/files/.platform/nginx/conf.d "$dir/eb/"
  nginx_takes "$dir" "include $dir/eb/conf.d/*.conf; server { listen 80; include $dir/eb/conf.d/elasticbeanstalk/*.conf; }"
  sed "s#/etc/haproxy/certs/#$dir/certs/#" deploy/haproxy/haproxy.cfg >"$dir/haproxy.cfg"
  # Where this machine allows fewer files than the real one, only that is said.
  sed -i 's/^  maxconn 20000/  maxconn 1000/' "$dir/haproxy.cfg"
  step haproxy -c -q -f "$dir/haproxy.cfg"
  sed 's/^  maxconn 20000/  maxconn 1000/' deploy/balancer/alb.cfg >"$dir/alb.cfg"
  step haproxy -c -q -f "$dir/alb.cfg"
}

# nginx_takes DIR WHAT  WHAT stands in http{}.
nginx_takes() {
  local kind
  {
    echo "pid $1/nginx.pid; error_log stderr; events {} http { access_log off;"
    for kind in client_body proxy fastcgi uwsgi scgi; do echo "${kind}_temp_path $1/tmp/$kind;"; done
    echo "$2 }"
  } >"$1/nginx.conf"
  step nginx -t -q -p "$1" -c "$1/nginx.conf"
}

check_uptime() {
  part "uptime.md's figures"
  step python3 deploy/uptime --check deploy/uptime.md
}

cloud() {
  need_cloud_tools
  check_scripts
  check_beanstalk
  check_image
  check_fronts
  check_uptime
  check_monitoring
}

# Terraform itself, with the provider's schema (a download of 60 MB) and checkov (a hundred packages).
cloud-terraform() {
  need_cloud_tools
  need_aws_bindings
  local data=$LOCAL/terraform
  mkdir -p "$data"
  TF_DATA_DIR=$data step "$VENV/bin/python" deploy/checks/terraform.py "$AWS_BINDINGS" \
    deploy/terraform deploy/terraform/modules/sizing deploy/terraform/modules/user_data
  need_checkov
  step "$VENV/bin/checkov" --directory deploy/terraform --framework terraform --skip-download --compact --quiet
}

# The zip as Beanstalk gets it, both binaries started, and the image's last stage. Two release builds: about half an hour.
cloud-bundle() {
  need_cloud_tools
  step deploy/eb/bundle
  local bundle
  bundle=$(find "$LOCAL/eb" -name 'hyperdesk-*.zip' -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-)
  step "$VENV/bin/python" deploy/checks/eb.py layout "$bundle"
  rm -rf "$LOCAL/eb/unpacked"
  step python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])' "$bundle" "$LOCAL/eb/unpacked"
  have qemu-aarch64-static || apt_install qemu-user-static || die "qemu-aarch64-static is missing: install qemu-user-static"
  start_database mariadb
  local name
  for name in $(settings); do export "$name="; done
  export DATABASE_URL=$SMOKE_DATABASE_URL APP_ENV=development LOG_FORMAT=text
  answers_health qemu-aarch64-static "$LOCAL/eb/unpacked/bin/hyperdesk-aarch64"
  [ "$(uname -m)" != x86_64 ] || answers_health "$LOCAL/eb/unpacked/bin/hyperdesk-x86_64"
  last_stage "$LOCAL/eb/unpacked/bin/hyperdesk-$(uname -m)"
}

# answers_health COMMAND...
answers_health() {
  local port pid tenths=600
  chmod +x "${@: -1}"
  port=$(free_port 25000)
  PORT=$port METRICS_PORT=$(free_port 25500) spawn "$@" serve
  pid=$SPAWNED
  until http_get "$port" /health; do
    tenths=$((tenths - 1))
    kill -0 "$pid" 2>/dev/null && [ "$tenths" -gt 0 ] || die "$* does not answer /health"
    sleep 0.1
  done
  stop_process "$pid" "$SERVER_STOP_SECONDS_MAX" "$1"
}

# last_stage BINARY  builds the Dockerfile's last stage with this binary in place of the one that the first stage would
# have built (no registry of images is needed), and starts it as the user that the image names.
last_stage() {
  part "the image's last stage"
  if [ "$(id -u)" -ne 0 ]; then
    warn "the image's last stage is NOT checked: that needs root (chroot)"
    return 0
  fi
  have buildah || apt_install buildah || die "buildah is missing: install it and run this again"
  local dir=$LOCAL/image container root
  rm -rf "$dir"
  mkdir -p "$dir/out/etc/ssl/certs" "$dir/out/uploads"
  cp "$1" "$dir/out/hyperdesk"
  touch "$dir/out/etc/ssl/certs/ca-certificates.crt"
  { printf 'FROM scratch AS build\nCOPY out /out\n' && sed -n '/^FROM scratch/,$p' deploy/docker/Dockerfile; } >"$dir/Dockerfile"
  local buildah=(buildah --storage-driver vfs --root "$dir/storage" --runroot "$dir/run")
  step "${buildah[@]}" bud --quiet --isolation chroot --file "$dir/Dockerfile" --tag hyperdesk-last-stage "$dir"
  container=$("${buildah[@]}" from hyperdesk-last-stage)
  root=$("${buildah[@]}" mount "$container")
  [ "$("${buildah[@]}" inspect --format '{{.OCIv1.Config.User}}' "$container")" = 65532:65532 ] || die "the image's user"
  step chroot --userspec=65532:65532 "$root" /hyperdesk check-config
  "${buildah[@]}" rm "$container" >/dev/null
  rm -rf "$dir"
}
