"""LangChain's OpenAI client against a gateway, unmodified."""

import openai
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI

from common import CALL, TOKEN, TOOL, URL, many, ok, prompt, raises


def model(agent, **members):
    members = {"api_key": TOKEN, "max_retries": 0, **members}
    return ChatOpenAI(model=agent, base_url=URL, **members)


plain = model("openclaw").invoke("hello there")
assert plain.content == "hello there", plain
assert plain.response_metadata["finish_reason"] == "stop", plain
ok("plain")

assert "".join(chunk.content for chunk in model("openclaw").stream("hello there")) == "hello there"
ok("stream")

whole = None
for chunk in model("openclaw", stream_usage=True).stream("hello there"):
    whole = chunk if whole is None else whole + chunk
assert whole.content == "hello there" and whole.usage_metadata["total_tokens"] > 0, whole
ok("stream with usage")

bound = model("openclaw:demo").bind_tools([TOOL])
question = HumanMessage(CALL[0]["content"])
asked = bound.invoke([question])
(call,) = asked.tool_calls
assert call["name"] == "get_weather" and call["args"] == {"city": "Oslo"}, call
done = bound.invoke([question, asked, ToolMessage("rain", tool_call_id=call["id"])])
assert done.content == f"The tool answered {call['id']}: rain", done
whole = None
for chunk in bound.stream([question]):
    whole = chunk if whole is None else whole + chunk
assert whole.tool_calls[0]["args"] == {"city": "Oslo"}, whole
ok("tools round trip")

raises(openai.AuthenticationError, lambda: model("openclaw", api_key="wrong").invoke("hi"))
ok("wrong key")
for ask in (lambda m: m.invoke("hi"), lambda m: list(m.stream("hi"))):
    assert "ghost" in str(raises(openai.BadRequestError, lambda: ask(model("openclaw:ghost"))))
ok("unknown agent")

known = model("openclaw:demo", model_kwargs={"user": "langchain"})
known.invoke("my cat is Mog")
assert "my cat is Mog" in known.invoke("what did I say?").content
ok("user continuity")


def first_word():
    slow = model("openclaw:slow", model_kwargs={"user": "langchain-abort"}).stream("hi")
    for chunk in slow:
        if chunk.content:
            break
    slow.close()


first_word()
prompt(first_word)
ok("abort")

names = [entry.id for entry in model("openclaw").root_client.models.list()]
assert "openclaw/demo" in names, names
ok("models list")

shared = model("openclaw")
many(lambda text: "".join(chunk.content for chunk in shared.stream(text)))
ok("20 streams at once")
