# The TUI in tmux: agents that answer at once and slowly, steering, aborting, commands of the gateway.
# shellcheck shell=bash disable=SC2154

tui_count=0
in_tmux() { tmux -L "$tmux_socket" "$@"; }
screen() { in_tmux capture-pane -p -t tui 2>/dev/null | grep -v '^ *$' || :; }
tell() { in_tmux send-keys -t tui -l "$1" && in_tmux send-keys -t tui Enter; }
press() { in_tmux send-keys -t tui "$1"; }

# A TUI that missed the end of a run shows a clock here for good.
idle='^ *\(gateway \)\?connected | \(idle\|aborted\|error\)'
is_shown() { # PATTERN COUNT: on so many lines at least
    [ "$(screen | grep -c -- "$1")" -ge "$2" ]
}
is_answered() { is_shown "$1" "$2" && is_shown "$idle" 1; }
waited() { # SECONDS COMMAND...: until it holds
    local _
    for _ in $(seq $(($1 * 4))); do
        "${@:2}" && return 0
        sleep 0.25
    done
    return 1
}
found() { # WHAT SECONDS COMMAND...: what was seen, or a fault with the screen
    if waited "${@:2}"; then
        echo "seen: $1 (${SECONDS}s)"
        return 0
    fi
    fault "never seen: $1 (${*:3})"
    screen | sed 's/^/    | /'
    return 1
}
seen() { found "$1" "${3:-15}" is_shown "$2" 1 || :; } # WHAT PATTERN [SECONDS]
answered() { # TEXT PATTERN COUNT [SECONDS]: says the text; the TUI is idle again, with the pattern
    tell "$1"
    found "\"$1\" is answered" "${4:-10}" is_answered "$2" "$3"
}
open_tui() { # VERSION SESSION
    in_tmux kill-server 2>/dev/null || :
    # A server that is going would take the new session with it.
    tmux_socket=by-hand-$$-$((tui_count += 1))
    HOME=$(home_of "$1") in_tmux new-session -d -s tui -x 110 -y 50 \
        "node $(program_of "$1") tui --session $2; echo EXIT \$?; sleep 60"
    found "the TUI of $1, connected to $2" 90 is_shown 'connected | idle' 1
}
close_tui() {
    press C-c
    sleep 0.5
    press C-c
    seen "Ctrl-C twice leaves" 'EXIT 0'
}

step "instant answers: ten, in two TUIs and new sessions"
for tui in 1 2; do
    open_tui "$current" "agent:echo:instant-$tui" || continue
    for round in 1 2 3 4 5; do
        # The word stands there twice: it was said, and it came back.
        answered "word$tui$round" "^ *word$tui$round" 2 || continue 2
        [ "$round" = 5 ] || answered /new 'new session: agent:echo:tui' 1 || continue 2
    done
    answered "/queue collect" 'collect' 2 || :
    answered "/compact" 'summed up\|ompacted' 1 || :
    screen
done

step "commands the gateway answers, never the model"
if open_tui "$current" agent:main:commands; then
    answered "remember me" 'So far: remember me' 1 || :
    for command in /status /tools /whoami "/context list" "/goal status"; do
        answered "$command" "^ *$command" 1 || break
        sleep 1
    done
    screen
    answered "what did I say" 'So far: remember me / what did I say' 1 || :
    close_tui
fi

step "a slow answer: streaming, steering, aborting"
if open_tui "$current" agent:slow:slow; then
    tell "take your time"
    seen "the answer streams" 'streaming'
    found "it ends" 20 is_answered '^labore magna' 1 || :
    tell "again"
    seen "another one streams" 'streaming'
    tell "steered in"
    seen "the message that steers is there while the run goes on" 'steered in' 3
    found "both are answered" 40 is_answered '^labore magna' 3 || :
    tell "stop this one"
    seen "a third one streams" 'streaming'
    press Escape
    found "Escape aborts it" 10 is_answered 'run aborted' 1 || :
    tell "and another"
    seen "the next one streams" 'streaming'
    tell /abort
    found "/abort aborts it" 10 is_answered 'run aborted' 2 || :
    screen
    close_tui
fi
runs=$(ours runs list)
if grep -q '^aborted.*agent:slow:slow' <<<"$runs"; then echo "seen: the runs are aborted"
else
    fault "no run is aborted"
    echo "$runs"
fi

step "a failing answer"
if open_tui "$current" agent:failing:fails; then
    answered "fail please" 'simulated failure' 1 || :
    answered "once more" 'simulated failure' 2 || :
    screen
    close_tui
fi

for version in "${versions[@]:1}"; do
    step "the TUI of $version"
    open_tui "$version" "agent:echo:tui-$version" || continue
    answered "hello $version" "^ *hello $version" 2 || :
    answered "/queue collect" 'collect' 2 || :
    screen
    close_tui
done
