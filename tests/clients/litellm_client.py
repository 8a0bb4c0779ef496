"""LiteLLM as a client of a gateway, unmodified."""

import json
import urllib.request

import litellm

from common import ASK, CALL, TOKEN, TOOL, URL, many, ok, prompt, raises

litellm.suppress_debug_info = True


def complete(agent="openclaw:main", messages=ASK, **members):
    members = {"api_key": TOKEN, "num_retries": 0, "max_retries": 0, **members}
    return litellm.completion(
        model=f"openai/{agent}", api_base=URL, messages=messages, **members
    )


def content(chunks):
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


plain = complete()
assert plain.choices[0].message.content == "hello there", plain
assert plain.choices[0].finish_reason == "stop", plain
ok("plain")

assert content(complete(stream=True)) == "hello there"
ok("stream")

chunks = list(complete(stream=True, stream_options={"include_usage": True}))
assert content(chunks) == "hello there", chunks
counted = [c.usage for c in chunks if getattr(c, "usage", None)]
assert counted and counted[-1].total_tokens > 0, chunks
ok("stream with usage")

for stream in (False, True):
    asked = complete("openclaw:demo", CALL, tools=[TOOL], stream=stream)
    if stream:
        asked = litellm.stream_chunk_builder(list(asked), messages=CALL)
    (call,) = asked.choices[0].message.tool_calls
    assert call.function.name == "get_weather", call
    assert json.loads(call.function.arguments) == {"city": "Oslo"}, call
    answer = asked.choices[0].message.model_dump()
    told = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    done = complete("openclaw:demo", [*CALL, answer, told], tools=[TOOL])
    assert done.choices[0].message.content == f"The tool answered {call.id}: rain", done
ok("tools round trip")

raises(litellm.AuthenticationError, lambda: complete(api_key="wrong"))
ok("wrong key")
# The status is 400, but it goes by the code `model_not_found`.
assert "ghost" in str(raises(litellm.NotFoundError, lambda: complete("openclaw:ghost")))
ok("unknown agent")

# It drops `user` for models it does not know, so this is the documented way.
user = {"extra_body": {"user": "litellm"}}
complete("openclaw:demo", [{"role": "user", "content": "my cat is Mog"}], **user)
again = complete("openclaw:demo", [{"role": "user", "content": "what did I say?"}], **user)
assert "my cat is Mog" in again.choices[0].message.content, again
ok("user continuity")


def first_word():
    slow = complete("openclaw:slow", stream=True, extra_body={"user": "litellm-abort"})
    for chunk in slow:
        if chunk.choices[0].delta.content:
            break
    slow.completion_stream.close()


first_word()
prompt(first_word)
ok("abort")

# LiteLLM itself has no call for the list of a server.
listed = urllib.request.Request(f"{URL}/models", headers={"Authorization": f"Bearer {TOKEN}"})
names = [entry["id"] for entry in json.load(urllib.request.urlopen(listed))["data"]]
for name in names:
    if name != "openclaw/slow":
        assert complete(name).choices, name
ok("models list")

many(lambda text: content(complete(messages=[{"role": "user", "content": text}], stream=True)))
ok("20 streams at once")
