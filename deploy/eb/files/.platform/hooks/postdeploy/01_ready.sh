#!/bin/sh
# The deployment of this instance fails, and is rolled back, unless the new version gets ready: its database is
# there with its schema, and no background task is down.
seconds=0
until curl --silent --fail --max-time 2 --output /dev/null "http://127.0.0.1:${METRICS_PORT:-9464}/ready"; do
  seconds=$((seconds + 1))
  if [ "$seconds" -ge 60 ]; then
    echo "not ready after 60 looks: see /var/log/web.stdout.log" >&2
    exit 1
  fi
  sleep 1
done
