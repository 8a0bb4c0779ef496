// An OpenAI-compatible model server that shows what it is asked: `model.mjs PORT`. It answers with
// every text the user has said so far, oldest first; words in brackets in the last one steer it.
import { createServer } from "node:http";

const WORDS = 80;

const textOf = ({ content }) =>
  typeof content === "string" ? content : content.map(({ text }) => text ?? "<image>").join("");

function answer(messages) {
  const said = messages.filter(({ role }) => role === "user").map(textOf);
  const last = said.at(-1) ?? "";
  if (last.includes("[fail]")) return { status: 400 };
  if (last.includes("[slow]")) {
    return { words: Array.from({ length: WORDS }, (_, n) => `w${n} `), pause: 100 };
  }
  return { words: [`So far: ${said.join(" / ")}`], pause: 0 };
}

createServer(async (request, response) => {
  let body = "";
  for await (const bytes of request) body += bytes;
  const { messages, stream, model } = JSON.parse(body || "{}");
  const { status = 200, words, pause } = answer(messages ?? []);
  if (status !== 200) {
    response.writeHead(status, { "content-type": "application/json" });
    return response.end(JSON.stringify({ error: { message: "the model was told to fail" } }));
  }
  const head = { id: "chatcmpl-1", created: 1, model };
  const usage = { prompt_tokens: 10, completion_tokens: words.length, total_tokens: 10 + words.length };
  if (!stream) {
    const message = { role: "assistant", content: words.join("") };
    const choices = [{ index: 0, message, finish_reason: "stop" }];
    response.writeHead(200, { "content-type": "application/json" });
    return response.end(JSON.stringify({ ...head, object: "chat.completion", choices, usage }));
  }
  response.writeHead(200, { "content-type": "text/event-stream" });
  const say = (part) => {
    const chunk = { ...head, object: "chat.completion.chunk", ...part };
    response.write(`data: ${JSON.stringify(chunk)}\n\n`);
  };
  for (const content of words) {
    say({ choices: [{ index: 0, delta: { role: "assistant", content }, finish_reason: null }] });
    if (pause > 0) await new Promise((done) => setTimeout(done, pause));
    if (response.destroyed) return undefined;
  }
  say({ choices: [{ index: 0, delta: {}, finish_reason: "stop" }] });
  say({ choices: [], usage });
  return response.end("data: [DONE]\n\n");
}).listen(Number(process.argv[2]), "127.0.0.1");
