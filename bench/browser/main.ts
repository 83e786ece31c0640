/**
 * Whether a training step, bundled for browsers, gives the same losses in Chromium as here:
 *
 *     deno run -A bench/browser/main.ts [CHROMIUM]
 *
 * It needs Chromium (Debian's package `chromium`), whose WebGPU runs on the processor without a GPU,
 * and is no part of the tests for that.
 */
import { z } from "npm:zod@4.6.7";
import { firstLosses } from "./losses.ts";

const resultSchema = z.object({
  losses: z.array(z.number()).optional(),
  device: z.string().optional(),
  error: z.string().optional(),
});
const [chromium = "/usr/bin/chromium"] = Deno.args;
const minutes = 10;

const folder = await Deno.makeTempDir();
const bundle = `${folder}/page.js`;
const page = new URL("./page.ts", import.meta.url).pathname;
const args = ["bundle", "--platform", "browser", "-o", bundle, page];
const bundled = await new Deno.Command(Deno.execPath(), { args, stderr: "piped" }).output();
if (!bundled.success) throw new Error(new TextDecoder().decode(bundled.stderr));

const { promise: posted, resolve } = Promise.withResolvers<unknown>();
const html = `<!doctype html><script type="module" src="/page.js"></script>`;
const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async (request) => {
  const { pathname } = new URL(request.url);
  if (pathname === "/result") {
    resolve(await request.json());
    return new Response();
  }
  const type = pathname === "/page.js" ? "text/javascript" : "text/html";
  const body = pathname === "/page.js" ? await Deno.readFile(bundle) : html;
  return new Response(body, { headers: { "content-type": type } });
});
const browser = new Deno.Command(chromium, {
  args: [
    ...["--headless=new", "--no-sandbox", "--enable-unsafe-webgpu", "--no-first-run"],
    ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
    ...[`--user-data-dir=${folder}/profile`, `http://127.0.0.1:${server.addr.port}/`],
  ],
  stdout: "null",
  stderr: "null",
}).spawn();
const late = setTimeout(() => resolve({ error: `no answer in ${minutes} minutes` }), 6e4 * minutes);
const { losses, device, error } = resultSchema.parse(await posted);
clearTimeout(late);
browser.kill();
await browser.status;
await server.shutdown();
await Deno.remove(folder, { recursive: true });
if (error || !losses) throw new Error(`in the browser: ${error}`);

const here = await firstLosses("reference");
const difference = Math.max(...here.map((loss, i) => Math.abs(loss - losses[i]!)));
console.log(`${device}\nin the browser: ${losses}\non the reference: ${here}`);
console.log(`largest difference: ${difference}`);
Deno.exit(difference < 1e-4 ? 0 : 1);
