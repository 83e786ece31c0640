/**
 * Whether a training, bundled for browsers, has the same losses in Chromium as here:
 *
 *     deno run -A bench/browser/main.ts [CHROMIUM]
 *
 * It needs Chromium (Debian's package `chromium`), whose WebGPU runs on the processor where there is no
 * GPU, and is no part of the tests for that.
 */
import { z } from "npm:zod@4.6.7";
import { firstLosses } from "./losses.ts";

const [chromium = "/usr/bin/chromium"] = Deno.args;
const minutes = 5;
const tolerance = 1e-4;
const resultSchema = z.union([
  z.object({ losses: z.array(z.number()), device: z.string() }),
  z.object({ error: z.string() }),
]);

const html = `<!doctype html>
<script>
  const report = (error) =>
    fetch("/result", { method: "POST", body: JSON.stringify({ error: String(error) }) });
  addEventListener("error", (e) => report(e.error?.stack ?? e.message));
  addEventListener("unhandledrejection", (e) => report(e.reason?.stack ?? e.reason));
</script>
<script type="module" src="/page.js" onerror="report('the page has no module')"></script>`;

const folder = await Deno.makeTempDir();
try {
  const result = resultSchema.parse(await inBrowser(await bundle()));
  if ("error" in result) throw new Error(`in the browser: ${result.error}`);
  const here = await firstLosses("reference");
  console.log(`${result.device}\nin the browser:   ${result.losses}\non the reference: ${here}`);
  const difference = Math.max(...here.map((loss, i) => Math.abs(loss - result.losses[i]!)));
  // Not above the tolerance, and a number.
  if (!(difference <= tolerance)) throw new Error(`the losses differ by ${difference}`);
  console.log(`largest difference: ${difference}`);
} finally {
  await Deno.remove(folder, { recursive: true });
}

/** Bundles the page's module. */
async function bundle(): Promise<Uint8Array<ArrayBuffer>> {
  const path = `${folder}/page.js`, page = new URL("./page.ts", import.meta.url).pathname;
  const args = ["bundle", "--platform", "browser", "-o", path, page];
  const { success, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return await Deno.readFile(path);
}

/** Opens the page in a browser and waits for what it posts. */
async function inBrowser(module: Uint8Array<ArrayBuffer>): Promise<unknown> {
  const { promise: posted, resolve } = Promise.withResolvers<unknown>();
  const late = setTimeout(
    () => resolve({ error: `no answer in ${minutes} minutes` }),
    60_000 * minutes,
  );
  await using server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen() {} },
    async (request) => {
      const { pathname } = new URL(request.url);
      if (pathname === "/result") resolve(await request.json());
      return pathname === "/page.js"
        ? new Response(module, { headers: { "content-type": "text/javascript" } })
        : new Response(html, { headers: { "content-type": "text/html" } });
    },
  );
  const browser = new Deno.Command(chromium, {
    args: [
      ...["--headless=new", "--no-sandbox", "--enable-unsafe-webgpu", "--no-first-run"],
      ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
      ...[`--user-data-dir=${folder}/profile`, `http://127.0.0.1:${server.addr.port}/`],
    ],
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    return await posted;
  } finally {
    clearTimeout(late);
    browser.kill();
    await browser.status;
  }
}
