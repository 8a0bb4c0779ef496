# Every command of the CLI that asks a gateway, in three versions: `commands.txt` says what each must
# end with and say.
# shellcheck shell=bash disable=SC2154

said=$state/said
ask() { # VERSION CODE PATTERN COMMAND
    local since=$EPOCHREALTIME code=0 took version=$1
    mark "$version $4"
    eval "openclaw $version $4" >"$said" 2>"$said.err" || code=$?
    took=$(awk -v a="$since" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
    if [ "$code" = "$2" ] && cat "$said" "$said.err" | grep -q -- "$3"; then
        printf 'ok %6ss  %s  %s\n' "$took" "$version" "$4"
    else
        fault "${took}s  $version  $4: ended with $code (must be $2), must say: $3"
        sed 's/^/    | /' "$said" | head -30
        sed 's/^/    ! /' "$said.err" | head -30
    fi
}

for version in "${versions[@]}"; do
    step "the CLI $version"
    # A table on descriptor 3: the commands must not read it.
    while IFS='|' read -r only code pattern command <&3; do
        case " $only " in
            *' # '* | '  ') continue ;;
            *' * '* | *" $version "*) ;;
            *) continue ;;
        esac
        if [ "$code" = - ]; then
            echo "--          $version  $command: $pattern"
        else
            ask "$version" "$code" "$pattern" "$command"
        fi
    done 3<"$here/commands.txt"

    step "the CLI $version, interrupted"
    before=$(ours runs list | grep -c '^aborted' || :)
    OPENCLAW_GATEWAY_PORT=$port HOME=$(home_of "$version") node "$(program_of "$version")" \
        agent --agent slow --message "stop me" >/dev/null 2>&1 &
    caller=$!
    for _ in $(seq 120); do
        ours runs list | grep -q '^active' && break
        sleep 0.25
    done
    kill -INT $caller
    wait $caller || :
    after=$(ours runs list | grep -c '^aborted' || :)
    if [ "$after" -gt "$before" ]; then echo "seen: the run is aborted"; else fault "no run is aborted"; fi
done

step "the links the CLI prints"
for command in "gateway status" status; do
    # shellcheck disable=SC2086  # words of a command
    links=$(openclaw "$current" $command 2>/dev/null | grep -o 'http://[0-9a-zA-Z.:/_-]*' | sort -u)
    [ -n "$links" ] || fault "$command prints no link"
    for link in $links; do
        code=$(curl -s -o /dev/null -w '%{http_code}' -H 'accept: text/html' "$link" || :)
        echo "$command: $link: $code"
        [ "$code" = 200 ] || fault "$command prints $link, which is $code"
    done
done

step "the bridges of the CLI: acp, mcp serve"
HOME=$(home_of "$current") node "$here/bridges.mjs" "$(program_of "$current")" \
    "ws://127.0.0.1:$port" "$OPENCLAW_GATEWAY_TOKEN" || fault "a bridge"
