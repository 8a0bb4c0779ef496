// The Control UI of the npm package `openclaw`, in headless Chromium, at the gateway on 18789:
// pairing, a message, its streamed answer, "Done", an abort. Pictures go beside this file.
import { execFileSync } from "node:child_process";
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { chromium } from "playwright-core";

const GATEWAY = "ws://127.0.0.1:18789";
const PAGE = "http://127.0.0.1:18800";
const TYPES = {
  ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css",
  ".svg": "image/svg+xml", ".json": "application/json", ".png": "image/png",
  ".ico": "image/x-icon", ".woff2": "font/woff2",
};
const CONFIG = {
  basePath: "", assistantName: "Main", assistantAvatar: null, assistantAgentId: "main",
  serverVersion: "2026.9.6", localMediaPreviewRoots: [], embedSandbox: "scripts",
  allowExternalEmbedUrls: false,
};

function serve(root) {
  const server = createServer(async (request, response) => {
    const path = normalize(new URL(request.url, PAGE).pathname);
    if (path.endsWith("control-ui-config.json")) {
      response.setHeader("content-type", "application/json");
      return response.end(JSON.stringify(CONFIG));
    }
    const file = extname(path) ? path : "/index.html";
    try {
      response.setHeader("content-type", TYPES[extname(file)] ?? "application/octet-stream");
      response.end(await readFile(join(root, file)));
    } catch {
      response.statusCode = 404;
      response.end();
    }
  });
  return new Promise((done) => server.listen(18800, "127.0.0.1", () => done(server)));
}

/** Notes what the page asks of the gateway and what it is refused. */
function listen(page) {
  const seen = { asked: new Map(), refused: new Map(), terminals: [] };
  page.on("websocket", (socket) => {
    if (!socket.url().startsWith(GATEWAY)) return;
    const methods = new Map();
    socket.on("framesent", ({ payload }) => {
      const frame = JSON.parse(payload);
      if (frame.type !== "req") return;
      methods.set(frame.id, frame.method);
      seen.asked.set(frame.method, (seen.asked.get(frame.method) ?? 0) + 1);
    });
    socket.on("framereceived", ({ payload }) => {
      const frame = JSON.parse(payload);
      if (frame.type === "res" && !frame.ok) {
        seen.refused.set(methods.get(frame.id), frame.error.message);
      }
      if (frame.event === "chat" && frame.payload.state !== "delta") {
        seen.terminals.push(frame.payload.state);
      }
    });
  });
  return seen;
}

async function until(what, check) {
  for (let tries = 0; tries < 100; tries += 1) {
    if (await check()) return console.log("seen:", what);
    await new Promise((done) => setTimeout(done, 200));
  }
  throw new Error(`never seen: ${what}`);
}

const server = await serve(process.argv[2]);
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-quic"],
});
const page = await browser.newPage({ viewport: { width: 1200, height: 800 } });
const seen = listen(page);
const text = () => page.innerText("body");
try {
  const token = process.env.OPENCLAW_GATEWAY_TOKEN;
  await page.goto(`${PAGE}/chat?gatewayUrl=${encodeURIComponent(GATEWAY)}#token=${token}`);
  await page.getByRole("button", { name: /Switch to/ }).click();
  await until("the page asks to be paired", async () => /devices approve/.test(await text()));
  const request = (await text()).match(/devices approve ([0-9a-f-]+)/)[1];
  execFileSync(process.env.CLAWPORT, ["devices", "approve", request]);
  await until("it is connected", async () => /Connected/.test(await text()));

  const answers = async () => (await text()).split("labore magna").length - 1;
  const before = await answers();
  const box = page.getByPlaceholder(/Message/).first();
  await box.fill("hello from the browser");
  await box.press("Enter");
  await until("the answer streams", async () => (await answers()) > before);
  if (seen.terminals.length > 0) throw new Error("the answer came at once");
  await page.screenshot({ path: "streaming.png" });
  await until("the run ends", () => seen.terminals.includes("final"));
  await until("Done", async () => /Done/.test(await text()));
  await page.screenshot({ path: "done.png" });

  await box.fill("stop this one");
  await box.press("Enter");
  const stop = page.locator('button[aria-label^="Stop"]').first();
  await stop.waitFor();
  await new Promise((done) => setTimeout(done, 1000));
  await stop.click();
  await until("the run is aborted", () => seen.terminals.includes("aborted"));
  await page.screenshot({ path: "aborted.png" });
} finally {
  console.log("asked:", [...seen.asked.keys()].sort().join(" "));
  for (const [method, error] of seen.refused) console.log("refused:", method, "–", error);
  await page.screenshot({ path: "last.png" });
  await browser.close();
  server.close();
}
