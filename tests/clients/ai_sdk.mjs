// Vercel's AI SDK with its OpenAI-compatible provider against a gateway, unmodified.

import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { CALL, TOKEN, URL_BASE, many, ok, prompt } from "./common.mjs";

const provider = (apiKey) =>
  createOpenAICompatible({ name: "clawport", baseURL: URL_BASE, apiKey, includeUsage: true });
const clawport = provider(TOKEN);
const ask = (agent, prompt, more = {}) => ({
  model: clawport(agent),
  prompt,
  maxRetries: 0,
  ...more,
});
const user = (user) => ({ providerOptions: { clawport: { user } } });

const plain = await generateText(ask("openclaw", "hello there"));
assert.equal(plain.text, "hello there");
assert.equal(plain.finishReason, "stop");
ok("plain");

const streamed = streamText(ask("openclaw:main", "hello there"));
assert.equal(await streamed.text, "hello there");
assert.equal(await streamed.finishReason, "stop");
ok("stream");
assert.ok((await streamed.usage).totalTokens > 0);
ok("stream with usage");

for (const run of [generateText, streamText]) {
  const asked = [];
  const tools = {
    get_weather: tool({
      description: "The weather of a city.",
      inputSchema: z.object({ city: z.string() }),
      execute: async (input) => {
        asked.push(input);
        return "rain";
      },
    }),
  };
  const stopWhen = stepCountIs(3);
  const done = await run(ask("openclaw:demo", CALL, { tools, stopWhen }));
  assert.match(await done.text, /The tool answered .+: .*rain/);
  assert.deepEqual(asked, [{ city: "Oslo" }]);
  assert.equal((await done.steps).length, 2);
}
ok("tools round trip");

const refused = { model: provider("wrong")("openclaw"), prompt: "hi", maxRetries: 0 };
await assert.rejects(
  generateText(refused),
  (error) => APICallError.isInstance(error) && error.statusCode === 401,
);
ok("wrong key");

await assert.rejects(
  generateText(ask("openclaw:ghost", "hi")),
  (error) => APICallError.isInstance(error) && /ghost/.test(error.message),
);
const errors = [];
const ghost = streamText(
  ask("openclaw:ghost", "hi", { onError: ({ error }) => errors.push(error) }),
);
await ghost.consumeStream();
assert.match(String(errors[0]?.message), /ghost/);
ok("unknown agent");

await generateText(ask("openclaw:demo", "my cat is Mog", user("ai")));
const again = await generateText(ask("openclaw:demo", "what did I say?", user("ai")));
assert.match(again.text, /my cat is Mog/);
ok("user continuity");

async function firstWord() {
  const controller = new AbortController();
  const abortSignal = controller.signal;
  const slow = streamText(ask("openclaw:slow", "hi", { ...user("ai-abort"), abortSignal }));
  for await (const part of slow.fullStream) {
    if (part.type === "text-delta") controller.abort();
  }
}
await firstWord();
await prompt(firstWord);
ok("abort");

// The SDK itself has no call for the list of a server.
const headers = { authorization: `Bearer ${TOKEN}` };
const list = await (await fetch(`${URL_BASE}/models`, { headers })).json();
assert.ok(list.data.some((model) => model.id === "openclaw/demo"));
ok("models list");

await many(async (text) => await streamText(ask("openclaw", text)).text);
ok("20 streams at once");
