#!/usr/bin/env bash
# Measures the hub, the two bare floors, nginx with nchan and npm's socket.io in one run, each server on one core and
# the load on another, and prints them beside the aims. `QUICK=1` is a shorter look; `ONLY="rate idle"` picks scenarios;
# `SERVERS="tidings floor"` picks servers; `TRANSPORTS="sse websocket"` picks how the hub's subscribers are connected;
# `TIDINGS_ARGS` adds options to `tidings serve`. bench/README.md tells more.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin:/sbin"

quick=${QUICK:-}
only=${ONLY:-rate flat-out idle topics open reconnect publish resume replicas}
servers=${SERVERS:-tidings floor floor-log nchan npm}
transports=${TRANSPORTS:-sse websocket socketio}
results=bench/results
tidings=target/release/tidings
floor=target/release/tidings-bench-floor

say() { printf '\033[1mbench:\033[0m %s\n' "$*" >&2; }
fail() { printf 'bench: %s\n' "$*" >&2; exit 1; }

# Two runs at once would share the cores and measure each other.
mkdir -p target
exec 9>target/bench.lock
if command -v flock >/dev/null && ! flock -n 9; then fail "another run is going on; figures of two at once are worth nothing"; fi

# --- What is needed: the release builds, nginx with nchan, Node with socket.io, two cores, enough descriptors.
cargo build --release --package tidings-server --package tidings-bench-floor

nchan_module() { # prints the file that loads the module
  local file
  for file in /usr/share/nginx/modules-available/mod-nchan.conf /etc/nginx/modules-enabled/*nchan*.conf; do
    if [ -e "$file" ]; then echo "$file"; return; fi
  done
  return 1
}
if [[ " $servers " == *" nchan "* ]] && ! { command -v nginx && nchan_module; } >/dev/null; then
  as_root=
  if [ "$(id -u)" != 0 ]; then as_root=sudo; fi
  if command -v apt-get >/dev/null && { [ -z "$as_root" ] || command -v sudo >/dev/null; }; then
    say "installing the Debian packages nginx-light and libnginx-mod-nchan"
    # RUNLEVEL=1: the packaged nginx is not to start as a service; the run starts its own.
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update || true
    $as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
      apt-get -qq install --yes --no-install-recommends nginx-light libnginx-mod-nchan >/dev/null || true
  fi
  if ! { command -v nginx && nchan_module; } >/dev/null; then
    say "nginx with nchan is not here and could not be installed; going on without it"
    servers=$(for server in $servers; do [ "$server" = nchan ] || echo "$server"; done)
  fi
fi

# The lock file pins what is installed.
if [[ " $servers " == *" npm "* ]] && [ ! -e bench/socketio/node_modules/socket.io ] &&
  ! { command -v node && command -v npm && npm --prefix bench/socketio ci --no-audit --no-fund; } >/dev/null; then
  say "Node with socket.io is not here and could not be installed; going on without it"
  servers=$(for server in $servers; do [ "$server" = npm ] || echo "$server"; done)
fi

pin_server=() pin_load=()
if [ "$(nproc)" -ge 2 ] && command -v taskset >/dev/null; then
  pin_server=(taskset -c "${SERVER_CORE:-0}") pin_load=(taskset -c "${LOAD_CORE:-1}")
else
  say "one core or no taskset: server and load share what there is, and the figures say little"
fi
ulimit -n "$(ulimit -Hn)"
if [ "$(ulimit -n)" != unlimited ] && [ "$(ulimit -n)" -lt 16000 ]; then
  fail "15,000 streams need as many descriptors, and only $(ulimit -n) are allowed (ulimit -Hn)"
fi

# --- Servers. Each run has a fresh one, in a directory of its own on the disk of this tree (a tmpfs has no sync).
work=$(mktemp -d "$PWD/target/bench.XXXXXX")
fresh="$work/results" # becomes $results when the run is through, so that no table mixes two runs
mkdir "$fresh"
started='' # the process this script started
measured='' # the process whose CPU and memory count
failures=0

stop() {
  if [ -n "$started" ]; then
    kill "$started" 2>/dev/null || true
    wait "$started" 2>/dev/null || true
    started=
  fi
}
trap 'stop; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

start() { # start SERVER: sets port, measured, data
  local server=$1 tries=0
  port=$((20000 + RANDOM % 10000))
  while answers "$port"; do port=$((20000 + RANDOM % 10000)); done
  data=$(mktemp -d "$work/$server.XXXXXX")
  case $server in
    tidings)
      # shellcheck disable=SC2086 # a list of options
      "${pin_server[@]}" "$tidings" serve --dev --listen "127.0.0.1:$port" --data "$data/log" ${TIDINGS_ARGS:-} \
        >"$data/out" 2>&1 9>&- & ;;
    floor | floor-log)
      "${pin_server[@]}" "$floor" "$server" "$port" >"$data/out" 2>&1 9>&- & ;;
    nchan)
      sed -e "s#DIRECTORY#$data#; s#PORT#$port#; s#MODULES#$(nchan_module)#" bench/nchan.conf >"$data/nginx.conf"
      "${pin_server[@]}" nginx -e "$data/out" -c "$data/nginx.conf" >"$data/out" 2>&1 9>&- & ;;
    npm)
      "${pin_server[@]}" node bench/socketio/server.mjs "$port" >"$data/out" 2>&1 9>&- & ;;
  esac
  started=$!
  until answers "$port"; do
    tries=$((tries + 1))
    if [ "$tries" -gt 100 ] || ! kill -0 "$started" 2>/dev/null; then
      tail -n 20 "$data/out" >&2
      stop
      return 1
    fi
    sleep 0.1
  done
  measured=$started
  if [ "$server" = nchan ]; then
    # The master only watches; its one worker serves.
    measured=$(cat "/proc/$started/task/$started/children")
    measured=${measured%% *}
  fi
}

measure() { # measure SERVER ROUND SCENARIO OPTION…: one scenario at a fresh server
  local server=$1 round=$2 scenario=$3 kind=$1 name
  shift 3
  if [[ " $only " != *" $scenario "* || " $servers " != *" $server "* ]]; then return 0; fi
  local label=$server
  case $server in
    floor-log) kind=floor ;;
    npm) label=socket.io ;;
  esac
  name="$scenario$(printf '%s' "$*" | tr -c 'a-z0-9' '-' | tr -s '-')"
  if ! start "$server"; then
    say "$server did not start"
    failures=$((failures + 1))
    return 0
  fi
  if [ "$scenario" = publish ]; then set -- "$@" --disk "$data"; fi
  if ! timeout 240 "${pin_load[@]}" "$tidings" bench "$scenario" --target "$kind" --label "$label" \
    --address "127.0.0.1:$port" --pid "$measured" --json "$fresh/$name.$server.$round.json" "$@"; then
    say "$scenario at $server failed"
    tail -n 5 "$data/out" >&2
    failures=$((failures + 1))
  fi
  stop
  rm -rf "$data"
}

# --- The run: servers take turns within each round, so that a change of the machine's mood hits all alike.
if [ -n "$quick" ]; then
  rounds=1 seconds=2 slow=600000 fast=4000000 resume='1000000' samples=50
else
  rounds=3 seconds=4 slow=1000000 fast=20000000 resume='100000 10000000' samples=200
fi
begun=$SECONDS
read -r load _ </proc/loadavg
if [ "${load%.*}" -ge 1 ]; then say "the machine is busy (load $load): take the ratios with caution, and times not at all"; fi

measure_all() { # measure_all SERVER ROUND OPTION…: the scenarios that are about deliveries and connections
  local server=$1 round=$2 deliveries
  shift 2
  measure "$server" "$round" rate --subscribers 1000 --seconds "$seconds" "$@"
  case $server in
    tidings | floor-log) deliveries=$fast ;;
    *) deliveries=$slow ;; # one write per event: more would only take longer
  esac
  if [ "$round" -le 2 ]; then
    measure "$server" "$round" flat-out --deliveries "$deliveries" "$@"
    measure "$server" "$round" open "$@"
    measure "$server" "$round" idle "$@"
  fi
}

for round in $(seq "$rounds"); do
  for server in tidings floor floor-log nchan npm; do
    # These are peers, not the measure: once is enough.
    case $server in nchan | npm) if [ "$round" -gt 1 ]; then continue; fi ;; esac
    if [ "$server" != tidings ] || [[ " $transports " == *" sse "* ]]; then
      measure_all "$server" "$round"
    fi
    if [ "$server" != npm ]; then measure "$server" "$round" rate --subscribers 5000 --seconds "$seconds"; fi
    if [ "$server" = tidings ]; then
      for transport in $transports; do
        if [ "$transport" != sse ]; then measure_all tidings "$round" --transport "$transport"; fi
      done
    fi
    if [ "$round" -le 2 ]; then
      case $server in tidings | nchan) measure "$server" "$round" topics ;; esac
      case $server in tidings | floor-log | nchan) measure "$server" "$round" reconnect ;; esac
      case $server in tidings | floor | nchan) measure "$server" "$round" publish --seconds "$((seconds / 2))" ;; esac
    fi
  done
done
for events in $resume; do
  measure tidings 1 resume --events "$events" --samples "$samples" --payload-bytes 100
done

# --- The comparison.
{
  echo "$(date -u +%Y-%m-%d), Linux $(uname -r), $(nproc) cores ($(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1))," \
    "$(git rev-parse --short HEAD 2>/dev/null || echo 'no commit'), load $load at the beginning${quick:+, QUICK}"
  echo
  "$tidings" bench table "$fresh"
} | tee "$fresh/table.md"
rm -rf "$results"
mv "$fresh" "$results"
if [[ " $only " == *" replicas "* ]]; then bench/replicas.sh || failures=$((failures + 1)); fi
say "$((SECONDS - begun)) s; all figures are in $results"
if [ "$failures" -gt 0 ]; then fail "$failures runs failed; the table lacks them or is not to be trusted"; fi
