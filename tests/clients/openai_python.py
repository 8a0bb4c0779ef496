"""The official OpenAI client for Python against a gateway, unmodified."""

import json

import openai

from common import ASK, CALL, TOKEN, TOOL, URL, many, ok, prompt, raises

client = openai.OpenAI(base_url=URL, api_key=TOKEN, max_retries=0)
create = client.chat.completions.create

plain = create(model="openclaw", messages=ASK)
assert plain.object == "chat.completion", plain
assert plain.choices[0].message.role == "assistant", plain
assert plain.choices[0].message.content == "hello there", plain
assert plain.choices[0].finish_reason == "stop", plain
assert plain.usage.total_tokens >= plain.usage.completion_tokens >= 0, plain
assert plain._request_id, "x-request-id is exposed"
assert create(model="gpt-4o", messages=ASK).model == "gpt-4o", "an alias"
ok("plain")

chunks = list(create(model="openclaw:main", messages=ASK, stream=True))
assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
assert "".join(c.choices[0].delta.content or "" for c in chunks) == "hello there"
finished = [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason]
assert finished == ["stop"] and chunks[-1].choices[0].finish_reason, finished
assert not any(c.usage for c in chunks), "nobody asked for usage"
assert len({c.id for c in chunks}) == 1, "one id for all chunks"
ok("stream")

options = {"include_usage": True}
chunks = list(create(model="openclaw", messages=ASK, stream=True, stream_options=options))
assert [bool(c.usage) for c in chunks].count(True) == 1, chunks
assert chunks[-1].usage.total_tokens > 0 and chunks[-1].choices == [], chunks[-1]
with client.chat.completions.stream(model="openclaw", messages=ASK) as helper:
    assert helper.get_final_completion().choices[0].message.content == "hello there"
ok("stream with usage")

for stream in (False, True):
    if stream:
        with client.chat.completions.stream(
            model="openclaw:demo", messages=CALL, tools=[TOOL]
        ) as helper:
            asked = helper.get_final_completion().choices[0]
    else:
        asked = create(model="openclaw:demo", messages=CALL, tools=[TOOL]).choices[0]
    assert asked.finish_reason == "tool_calls", asked
    (call,) = asked.message.tool_calls
    assert call.function.name == "get_weather", call
    assert json.loads(call.function.arguments) == {"city": "Oslo"}, call
    told = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    calls = [{"id": call.id, "type": "function", "function": call.function.model_dump()}]
    answer = {"role": "assistant", "content": asked.message.content, "tool_calls": calls}
    done = create(model="openclaw:demo", messages=[*CALL, answer, told], tools=[TOOL])
    assert done.choices[0].message.content == f"The tool answered {call.id}: rain", done
needed = create(model="openclaw", messages=ASK, tools=[TOOL], tool_choice="required")
assert needed.choices[0].finish_reason == "tool_calls", needed
hidden = create(model="openclaw:demo", messages=CALL, tools=[TOOL], tool_choice="none")
assert hidden.choices[0].finish_reason == "stop", hidden
ok("tools round trip")

names = [model.id for model in client.models.list()]
assert names[:2] == ["openclaw", "openclaw/default"] and "openclaw/demo" in names, names
for name in names:
    assert client.models.retrieve(name).id == name
    if name != "openclaw/slow":
        assert create(model=name, messages=ASK).choices
ok("models list")

wrong = openai.OpenAI(base_url=URL, api_key="wrong", max_retries=0)
refused = raises(
    openai.AuthenticationError,
    lambda: wrong.chat.completions.create(model="openclaw", messages=ASK),
)
assert refused.type == "unauthorized", refused
ok("wrong key")

for stream in (False, True):
    ghost = raises(
        openai.BadRequestError,
        lambda: create(model="openclaw:ghost", messages=ASK, stream=stream),
    )
    assert "ghost" in str(ghost) and ghost.code == "model_not_found" and ghost.param == "model"
ok("unknown agent")

said = [{"role": "user", "content": "my cat is Mog"}]
question = [{"role": "user", "content": "what did I say?"}]
create(model="openclaw:demo", messages=said, user="python")
again = create(model="openclaw:demo", messages=question, user="python")
assert "my cat is Mog" in again.choices[0].message.content, again
other = create(model="openclaw:demo", messages=question, user="python-2")
assert "Mog" not in other.choices[0].message.content, other
ok("user continuity")


def first_word():
    stream = create(model="openclaw:slow", messages=ASK, stream=True, user="abort")
    for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    stream.close()


first_word()
prompt(first_word)
ok("abort")


def ask(text):
    stream = create(
        model="openclaw", messages=[{"role": "user", "content": text}], stream=True
    )
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream)


many(ask)
ok("20 streams at once")

thought = create(
    model="openclaw:thinker", messages=[{"role": "user", "content": "think: of cats"}]
)
assert thought.choices[0].message.reasoning_content == "of cats", thought
nothing = {"temperature": None, "stop": None, "seed": None, "tools": None, "user": None}
assert create(model="openclaw", messages=ASK, extra_body=nothing).choices
refused = raises(openai.BadRequestError, lambda: create(model="openclaw", messages=ASK, n=2))
assert refused.param == "n", refused
run = client.get(f"/runs/{plain.id}", cast_to=object)
assert run["status"] == "ok" and run["text"] == "hello there", run
ok("reasoning, nulls, n, the run")
