// A headless Chromium at the Control UI, and what goes wrong on its page.
import { appendFileSync } from "node:fs";
import { createRequire } from "node:module";

const { FOLDER, RECORD, BROWSER } = process.env;
const { chromium } = createRequire(`${FOLDER}/`)("playwright-core");
const CHROMIUM = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const LOOK_MS = 200;

export const wait = (ms) => new Promise((done) => setTimeout(done, ms));
export const seconds = () => `${Math.round(performance.now() / 1000)}s`;

let faults = 0;
export function fault(text) {
  faults += 1;
  console.log(`FAULT ${text}`);
}
export const faultCount = () => faults;

/** Says what comes next, on the screen and in the record. */
export function step(name) {
  console.log(`-- ${name} (${seconds()})`);
  appendFileSync(RECORD, `${JSON.stringify({ step: name })}\n`);
}

/** Waits until `check` holds; a fault when it never does. */
export async function seen(what, check, { patience = 20_000, quiet = false } = {}) {
  const until = performance.now() + patience;
  while (performance.now() < until) {
    if (await check()) {
      if (!quiet) console.log("seen:", what);
      return true;
    }
    await wait(LOOK_MS);
  }
  fault(`never seen: ${what}`);
  return false;
}

/** The browser with one page; what the page complains of is kept in `complaints`. */
export async function open() {
  const browser = await chromium.launch({ executablePath: BROWSER, args: CHROMIUM });
  const page = await browser.newPage({ viewport: { width: 1300, height: 900 } });
  const complaints = [];
  let frames = 0;
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(`console: ${message.text()} ${message.location().url}`);
  });
  page.on("pageerror", (error) => complaints.push(`page error: ${error.message}`));
  page.on("response", (response) => {
    if (response.status() >= 400) complaints.push(`${response.status()} for ${response.url()}`);
  });
  page.on("websocket", (socket) => {
    for (const event of ["framesent", "framereceived"]) socket.on(event, () => (frames += 1));
  });
  const text = () => page.innerText("body").catch(() => "");
  /** Waits until nothing was said on the wire for a while. */
  const settled = async (quietMs = 700, patience = 12_000) => {
    const until = performance.now() + patience;
    for (let before = -1; before !== frames && performance.now() < until; ) {
      before = frames;
      await wait(quietMs);
    }
  };
  return { browser, page, complaints, text, settled };
}
