// The Control UI as the gateway serves it, in headless Chromium: pairing, conversation, reloads, and
// every page. `control_ui.mjs PAGE PICTURES`
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { faultCount, open, fault, seen, step, wait } from "./browser.mjs";
import { look, visitPages } from "./pages.mjs";

const [base, pictures] = process.argv.slice(2);
const { CLAWPORT, OPENCLAW_GATEWAY_TOKEN } = process.env;
const PIXELS = "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAAGUlEQVR42mP8z8BQz0AEYBxVSF+FowpBCgBk" +
  "9gX/3sl0pQAAAABJRU5ErkJggg==";

const ui = await open();
const { browser, page, text, settled } = ui;
const picture = (name) => page.screenshot({ path: join(pictures, `${name}.png`) });
const says = (words) => async () => (await text()).includes(words);
const matches = (pattern) => async () => pattern.test(await text());
const box = () => page.getByLabel("Chat composer").last();
const stop = () => page.locator('button[aria-label^="Stop"]').first();
const isRunning = () => stop().isVisible();

async function say(words) {
  await box().fill(words);
  // Enter would choose from the menu that opens at a slash.
  await page.getByLabel("Send message").last().click();
}
/** Opens a session by its link; it is there before, as a link to a session that is not there says so. */
async function openSession(key) {
  execFileSync(CLAWPORT, ["call", "sessions.create", JSON.stringify({ key })]);
  await page.goto(`${base}/chat?session=${encodeURIComponent(key)}`);
  await box().waitFor();
  await settled();
}

async function pair() {
  await page.goto(`${base}/#token=${OPENCLAW_GATEWAY_TOKEN}`);
  if (!(await seen("the page asks to be paired", matches(/devices approve/)))) throw new Error("no page");
  const [, request] = (await text()).match(/devices approve ([0-9a-f-]+)/);
  execFileSync(CLAWPORT, ["devices", "approve", request]);
  await seen("it is connected, without a reload", says("Connected"));
}

async function instant() {
  await openSession("agent:echo:page");
  for (const number of [1, 2, 3]) {
    await say(`instant-${number}`);
    await seen(`instant answer ${number}`, async () => (await text()).split(`instant-${number}`).length > 2);
    await seen("no stop button is left", async () => !(await isRunning()), { patience: 5000, quiet: true });
  }
}

async function converse() {
  await openSession("agent:main:page");
  await say("hello from the browser");
  await seen("the answer", says("So far: hello from the browser"));
  await say("[slow] and now slowly");
  await seen("the answer streams", async () => /\bw3\b(?!.*\bw79\b)/s.test(await text()));
  await picture("streaming");
  await seen("all of it", says("w79"));
  await seen("Done", says("Done"));
  await picture("done");
}

async function busy() {
  await say("[slow] keep busy");
  await seen("the run is on", isRunning);
  await say("said while it was busy");
  await seen("the second message is on the page at once", says("said while it was busy"), { patience: 1500 });
  // It must stay there: the page shows its own copy first and then what the gateway says is waiting.
  for (let look = 0; look < 8 && (await isRunning()); look += 1) {
    if (!(await says("said while it was busy")())) fault("the second message is gone while it waits");
    await wait(250);
  }
  await picture("busy");
  await seen("both are answered", matches(/So far: [^\n]*keep busy[^\n]*said while it was busy/));
  await seen("no stop button is left", async () => !(await isRunning()));
  await page.reload();
  await settled();
  await seen("both are there after a reload", says("said while it was busy"));
}

async function reloads() {
  await openSession("agent:main:reload");
  const link = page.url();
  await say("[slow] reload me");
  await seen("it streams", matches(/\bw3\b/));
  await page.reload();
  await seen("text so far and the stop button after a reload", async () =>
    (await matches(/\bw3\b/)()) && (await isRunning()), { patience: 6000 });
  await seen("it goes on to its end", says("w79"));
  await page.goto("about:blank");
  await page.goto(link);
  await seen(`the same by its link ${link}`, says("w79"));
}

async function abort() {
  await openSession("agent:slow:page");
  await say("stop this one");
  await stop().waitFor();
  await wait(1000);
  await stop().click();
  await seen("the run is interrupted", matches(/Interrupted|Stopped|aborted/i));
  await picture("aborted");
}

async function failing() {
  await openSession("agent:failing:page");
  await say("fail please");
  await seen("the failure is told", matches(/simulated failure|failed/i));
  await seen("no stop button is left", async () => !(await isRunning()));
}

async function commands() {
  await openSession("agent:main:commands");
  for (const command of ["/status", "/whoami", "/context", "/goal status", "/queue collect"]) {
    await say(command);
    await settled();
    if (await matches(new RegExp(`So far:[^\\n]*${command}`))()) fault(`${command} went to the model`);
  }
  await say("after the commands");
  await seen("the model never saw them", matches(/So far: after the commands\s/));
  await picture("commands");
  const before = page.url();
  await say("/new");
  await seen("/new opens a new chat", () => page.url() !== before);
  await box().waitFor();
  await say("first in the new chat");
  await seen("an answer in it", matches(/So far: first in the new chat\s/));
  await settled();
  console.log(`   its link: ${page.url()}`);
  await page.reload();
  await seen("the new chat after a reload", says("So far: first in the new chat"));
}

async function image() {
  await openSession("agent:main:image");
  const buffer = Buffer.from(PIXELS, "base64");
  await page.locator('input[type="file"]').first()
    .setInputFiles({ name: "red.png", mimeType: "image/png", buffer });
  await settled();
  await say("look at this");
  await seen("the model got it", says("<image>"));
  await settled();
  const shown = async () => (await page.locator('img[src^="data:image"]:visible, img[src^="blob:"]:visible, img[src*="media"]:visible').count()) > 0;
  await seen("the image is still shown", shown, { patience: 5000 });
  if (await matches(/omitted/i)()) fault("the image is called omitted");
  await picture("image");
  await page.reload();
  await settled();
  await seen("and after a reload", shown, { patience: 5000 });
}

async function menus() {
  await openSession("agent:main:menu");
  await page.getByLabel("Actions for menu").first().click();
  await settled();
  await look(ui, "the actions of a chat");
  await page.keyboard.press("Escape");
  // The button is drawn only under a pointer.
  await page.getByLabel("Open session menu: menu").first().dispatchEvent("click");
  await settled();
  await look(ui, "the menu of a session");
  await picture("menu");
  await page.keyboard.press("Escape");
}

async function searches() {
  await page.goto(`${base}/chat`);
  await settled();
  await page.keyboard.press("Control+k");
  await wait(500);
  await page.keyboard.type("hello");
  await settled();
  await seen("the palette finds the message", async () => /Messages\s*[1-9]/.test(await ui.text()));
  await look(ui, "the palette");
  await picture("palette");
  await page.keyboard.press("Escape");
  await page.goto(`${base}/sessions`);
  await settled();
  const search = page.getByPlaceholder(/search/i).first();
  await search.fill("hello");
  await search.press("Enter");
  await seen("the search of transcripts finds the message", async () =>
    /Transcript matches: [1-9]/.test(await ui.text()));
  await look(ui, "search on /sessions");
  await picture("sessions");
}

const STORIES = { pair, instant, converse, busy, reloads, abort, failing, commands, image, menus,
  searches };
page.setDefaultTimeout(10_000);
try {
  for (const [name, story] of Object.entries(STORIES)) {
    step(`page: ${name}`);
    const failed = await story().then(() => undefined, (error) => error);
    if (failed && name === "pair") throw failed;
    if (failed) fault(`${name}: ${failed.message}`);
    await look(ui, name);
  }
  await visitPages(ui, base);
} finally {
  await picture("last");
  await browser.close();
}
process.exitCode = faultCount() > 0 ? 1 : 0;
