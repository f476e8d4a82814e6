#!/usr/bin/env bash
# Measures a hub of two replicas over one NATS server (one copy of each event), beside the same hub with its log on disk, in one
# run: events per second into the log, from a publish at one replica to its delivery at the other, resuming, CPU per
# delivery, and the takeover of a killed replica's streams. `QUICK=1` is a shorter look. bench/README.md tells more.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\033[1mbench:\033[0m %s\n' "$*" >&2; }
version=${NATS_VERSION:-2.15.1}
nats=.make/nats/$version/nats-server
tidings=target/release/tidings
if [ ! -x "$nats" ]; then mkdir -p .make && scripts/nats-servers; fi
cargo build --release --package tidings-server
cargo build --release --package tidings-brokers --example nats_bench

if [ -n "${QUICK:-}" ]; then clients=2000 seconds=3; else clients=10000 seconds=5; fi
pin_server=() pin_load=()
if [ "$(nproc)" -ge 2 ] && command -v taskset >/dev/null; then
  pin_server=(taskset -c "${SERVER_CORE:-0}") pin_load=(taskset -c "${LOAD_CORE:-1}")
fi
ulimit -n "$(ulimit -Hn)"

# On the disk of this tree: a tmpfs has no sync.
work=$(mktemp -d "$PWD/target/bench.XXXXXX")
pids=()
stop() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  pids=()
}
trap 'stop; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
free_port() {
  port=$((20000 + RANDOM % 10000))
  while answers "$port"; do port=$((20000 + RANDOM % 10000)); done
}
until_it_answers() { # until_it_answers PORT LOG
  local tries=0
  until answers "$1"; do
    tries=$((tries + 1))
    if [ "$tries" -gt 100 ]; then tail -n 20 "$2" >&2; exit 1; fi
    sleep 0.1
  done
}
start_nats() { # start_nats NAME: sets port
  free_port
  "$nats" --addr 127.0.0.1 --port "$port" --jetstream --store_dir "$work/$1" >"$work/$1.out" 2>&1 &
  pids+=($!)
  until_it_answers "$port" "$work/$1.out"
}
start_hub() { # start_hub NAME [URL]: sets port and pid
  free_port
  env ${2:+TIDINGS_BROKER__URL="$2"} "${pin_server[@]}" "$tidings" serve --dev --listen "127.0.0.1:$port" --data "$work/$1" \
    >"$work/$1.out" 2>&1 &
  pid=$!
  pids+=("$pid")
  until_it_answers "$port" "$work/$1.out"
}
bench() { "${pin_load[@]}" "$tidings" bench "$@"; }

{
  echo "$(date -u +%Y-%m-%d), Linux $(uname -r), $(nproc) cores, NATS $version, $(git rev-parse --short HEAD 2>/dev/null || echo 'no commit')"

  say "the broker alone: pipelined publishes, publish at one replica to announced at another, resuming by topic"
  start_nats log
  target/release/examples/nats_bench "nats://127.0.0.1:$port"
  stop

  say "two replicas: publish at A, deliver at B, 5,000 events per second"
  start_nats two
  url="nats://127.0.0.1:$port"
  start_hub a "$url"
  a=127.0.0.1:$port a_pid=$pid
  start_hub b "$url"
  b=127.0.0.1:$port b_pid=$pid
  bench rate --label replicas --address "$b" --publish-address "$a" --subscribers 1 --rate 5000 --seconds "$seconds" --topic bench/far
  say "resuming at B where A was"
  bench resume --label replicas --address "$b" --publish-address "$a" --events 100000 --samples 50 --payload-bytes 100
  say "CPU per delivery, over NATS and with the log on disk"
  bench rate --label nats --address "$b" --pid "$b_pid" --subscribers 1000 --seconds "$seconds" --topic bench/near
  start_hub disk
  bench rate --label disk --address "127.0.0.1:$port" --pid "$pid" --subscribers 1000 --seconds "$seconds"
  say "$clients streams of a killed replica go on at the other"
  bench takeover --label replicas --address "$a" --other "$b" --kill "$a_pid" --clients "$clients"
} | tee "$work/replicas.txt"
mkdir -p bench/results
mv "$work/replicas.txt" bench/results/replicas.txt
say "all figures are in bench/results/replicas.txt"
