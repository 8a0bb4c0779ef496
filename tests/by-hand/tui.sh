# The TUI in tmux: agents that answer at once and slowly, steering, aborting, commands of the gateway.
# shellcheck shell=bash disable=SC2154

screen() { tmux -L "$tmux_socket" capture-pane -p -t tui | grep -v '^ *$' || :; }
tell() { tmux -L "$tmux_socket" send-keys -t tui -l "$1" && tmux -L "$tmux_socket" send-keys -t tui Enter; }
press() { tmux -L "$tmux_socket" send-keys -t tui "$1"; }
shows() { # PATTERN [SECONDS]: waits until the screen shows it
    local _
    for _ in $(seq $((${2:-15} * 4))); do
        screen | grep -q -- "$1" && return 0
        sleep 0.25
    done
    return 1
}
seen() { # PATTERN WHAT [SECONDS]
    if shows "$1" "${3:-15}"; then echo "seen: $2"; return 0; fi
    fault "never seen: $2 ($1)"
    screen
    return 1
}
open_tui() { # VERSION SESSION
    tmux -L "$tmux_socket" kill-server 2>/dev/null || :
    HOME=$(home_of "$1") tmux -L "$tmux_socket" new-session -d -s tui -x 110 -y 50 \
        "node $(program_of "$1") tui --session $2; echo EXIT \$?; sleep 60"
    seen 'connected | idle' "the TUI of $1 is connected to $2" 60
}
close_tui() {
    press C-c
    sleep 0.5
    press C-c
    seen 'EXIT 0' "Ctrl-C twice leaves"
}
# The status line is idle again; a TUI that missed the end of a run stays busy for good.
idle='^ *\(gateway \)\?connected | idle'

at_once() { # TEXT PATTERN: an instant answer, and the TUI is idle after it
    tell "$1"
    seen "$2" "\"$1\" is answered" && seen "$idle" "idle after \"$1\"" 10
}

step "instant answers: ten, in two TUIs and a new session for each"
for tui in 1 2; do
    open_tui "$current" "agent:echo:instant-$tui" || continue
    for round in 1 2 3 4 5; do
        tell "word$tui$round"
        # The text stands there twice: what was said, and what came back.
        seen "$idle" "idle after instant answer $tui.$round" 10 || break
        [ "$(screen | grep -c "^ *word$tui$round")" -ge 2 ] || fault "no answer $tui.$round"
        [ "$round" = 5 ] && break
        tell /new
        seen 'new session: agent:echo:tui' "a new session"
    done
    at_once "/queue collect" "[Qq]ueue.*collect" || :
    at_once "/compact" "[Cc]ompact\|[Nn]othing" || :
done

step "commands the gateway answers, never the model"
if open_tui "$current" agent:main:commands; then
    at_once "remember me" "So far: remember me" || :
    for command in /status /tools /whoami /context "/goal status"; do
        tell "$command"
        seen "$idle" "idle after $command" 10 || break
        if screen | grep -q "So far:.*$command"; then fault "$command went to the model"; fi
    done
    at_once "what did I say" "So far: remember me / what did I say" || :
    screen
    tell /new
    seen 'new session: agent:main:' "/new"
    close_tui || :
fi

step "a slow answer: streaming, steering, aborting"
if open_tui "$current" agent:slow:slow; then
    tell "take your time"
    seen 'streaming' "the answer streams"
    seen "$idle" "it ends" 20
    tell "again"
    seen 'streaming' "another one streams"
    tell "steered in"
    sleep 1
    seen 'steered in' "the message that steers is there while the run goes on"
    seen "$idle" "both are answered" 30
    [ "$(screen | grep -c '^ *labore magna')" -ge 3 ] || fault "three answers should be there"
    tell "stop this one"
    seen 'streaming' "a third one streams"
    press Escape
    seen 'run aborted' "Escape aborts it"
    tell "and another"
    seen 'streaming' "the next one streams"
    tell /abort
    seen "aborted" "/abort aborts it"
    screen
    close_tui || :
fi
runs=$(ours runs list)
grep -q '^aborted.*agent:slow:slow' <<<"$runs" || { fault "no run is aborted"; echo "$runs"; }

step "a failing answer"
if open_tui "$current" agent:failing:fails; then
    tell "fail please"
    seen 'run error\|fail' "the failure is told"
    tell "once more"
    seen 'once more' "the next message is taken"
    sleep 2
    if screen | grep -q 'agent is busy'; then fault "the TUI is busy after a failure"; fi
    screen
    close_tui || :
fi

for version in "${versions[@]:1}"; do
    step "the TUI of $version"
    open_tui "$version" "agent:echo:tui-$version" || continue
    tell "hello $version"
    seen "$idle" "idle after an instant answer" 10 || :
    at_once "/queue collect" "[Qq]ueue.*collect" || :
    screen
    close_tui || :
done
