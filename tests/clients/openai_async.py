"""The official OpenAI client for Python, its asynchronous half, against a gateway, unmodified."""

import asyncio
import json
import time

import openai

from common import ASK, CALL, PARALLEL, TOKEN, TOOL, URL, ok, text_of

client = openai.AsyncOpenAI(base_url=URL, api_key=TOKEN, max_retries=0)
create = client.chat.completions.create


async def refused(kind, asked):
    try:
        await asked
    except kind as error:
        return error
    raise AssertionError(f"not refused with {kind}")


async def streamed(text="hello there", **members):
    messages = [{"role": "user", "content": text}]
    stream = await create(model="openclaw", messages=messages, stream=True, **members)
    return [chunk async for chunk in stream]


def content(chunks):
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


async def tools():
    async with client.chat.completions.stream(
        model="openclaw:demo", messages=CALL, tools=[TOOL]
    ) as helper:
        asked = (await helper.get_final_completion()).choices[0]
    (call,) = asked.message.tool_calls
    assert asked.finish_reason == "tool_calls", asked
    assert json.loads(call.function.arguments) == {"city": "Oslo"}, call
    calls = [{"id": call.id, "type": "function", "function": call.function.model_dump()}]
    answer = {"role": "assistant", "content": "", "tool_calls": calls}
    told = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    done = await create(model="openclaw:demo", messages=[*CALL, answer, told], tools=[TOOL])
    assert done.choices[0].message.content == f"The tool answered {call.id}: rain", done


async def first_word():
    stream = await create(model="openclaw:slow", messages=ASK, stream=True, user="async-abort")
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    await stream.close()


async def main():
    plain = await create(model="openclaw", messages=ASK)
    assert plain.choices[0].message.content == "hello there", plain
    ok("plain")
    assert content(await streamed()) == "hello there"
    ok("stream")
    chunks = await streamed(stream_options={"include_usage": True})
    assert chunks[-1].usage.total_tokens > 0, chunks[-1]
    ok("stream with usage")
    await tools()
    ok("tools round trip")
    names = [model.id async for model in client.models.list()]
    assert "openclaw/main" in names, names
    ok("models list")
    wrong = openai.AsyncOpenAI(base_url=URL, api_key="wrong", max_retries=0)
    asked = wrong.chat.completions.create(model="openclaw", messages=ASK)
    await refused(openai.AuthenticationError, asked)
    ok("wrong key")
    await refused(openai.BadRequestError, create(model="openclaw:ghost", messages=ASK))
    ok("unknown agent")
    said = [{"role": "user", "content": "my cat is Mog"}]
    question = [{"role": "user", "content": "what did I say?"}]
    await create(model="openclaw:demo", messages=said, user="async")
    again = await create(model="openclaw:demo", messages=question, user="async")
    assert "my cat is Mog" in again.choices[0].message.content, again
    ok("user continuity")
    await first_word()
    since = time.monotonic()
    await first_word()
    assert time.monotonic() - since < 2, "the session is free again at once"
    ok("abort")
    texts = [text_of(number) for number in range(PARALLEL)]
    answers = await asyncio.gather(*(streamed(text) for text in texts))
    assert [content(chunks) for chunks in answers] == texts
    assert len({chunks[0].id for chunks in answers}) == PARALLEL
    ok("20 streams at once")


asyncio.run(main())
