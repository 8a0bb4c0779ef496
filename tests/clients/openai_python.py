"""The official OpenAI client for Python against a gateway, unmodified."""

import os
import time

import openai

client = openai.OpenAI(
    base_url=os.environ["CLAWPORT_URL"], api_key=os.environ["CLAWPORT_TOKEN"], max_retries=0
)
ask = [{"role": "user", "content": "hello there"}]

plain = client.chat.completions.create(model="openclaw", messages=ask)
assert plain.object == "chat.completion", plain
assert plain.choices[0].message.role == "assistant", plain
assert plain.choices[0].message.content == "hello there", plain
assert plain.choices[0].finish_reason == "stop", plain
assert plain.usage.total_tokens >= plain.usage.completion_tokens >= 0, plain
assert plain._request_id, "x-request-id is exposed"
print("plain: ok")

chunks = list(
    client.chat.completions.create(
        model="openclaw:main", messages=ask, stream=True, stream_options={"include_usage": True}
    )
)
assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
assert text == "hello there", text
finished = [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason]
assert finished == ["stop"], finished
assert [bool(c.usage) for c in chunks].count(True) == 1 and chunks[-1].usage, chunks[-1]
assert len({c.id for c in chunks}) == 1, "one id for all chunks"
print("stream: ok")

names = [model.id for model in client.models.list()]
assert names[:2] == ["openclaw", "openclaw/default"] and "openclaw/demo" in names, names
for name in names:
    assert client.models.retrieve(name).id == name
    assert client.chat.completions.create(model=name, messages=ask).choices
print("models: ok")


def refused(kind, **request):
    try:
        request.pop("api", client).chat.completions.create(messages=ask, **request)
    except kind as error:
        return error
    raise AssertionError(f"{request} was not refused with {kind}")


wrong = openai.OpenAI(base_url=os.environ["CLAWPORT_URL"], api_key="wrong", max_retries=0)
assert refused(openai.AuthenticationError, model="openclaw", api=wrong).type == "unauthorized"
assert "ghost" in str(refused(openai.BadRequestError, model="openclaw:ghost"))
assert "ghost" in str(refused(openai.BadRequestError, model="openclaw:ghost", stream=True))
print("errors: ok")

first = client.chat.completions.create(
    model="openclaw:demo", messages=[{"role": "user", "content": "my cat is Mog"}], user="python"
)
second = client.chat.completions.create(
    model="openclaw:demo",
    messages=[{"role": "user", "content": "what did I say?"}],
    user="python",
)
assert first.choices and "my cat is Mog" in second.choices[0].message.content, second
print("user continuity: ok")

stream = client.chat.completions.create(
    model="openclaw:slow", messages=ask, stream=True, user="abort"
)
for chunk in stream:
    if chunk.choices and chunk.choices[0].delta.content:
        break
stream.close()
since = time.monotonic()
with client.chat.completions.create(
    model="openclaw:slow", messages=ask, stream=True, user="abort"
) as again:
    for chunk in again:
        if chunk.choices and chunk.choices[0].delta.content:
            break
assert time.monotonic() - since < 2, "the session is free again at once"
print("abort: ok")
