/** `watch`: the report of a run on a page that follows it while it trains. */
import process from "node:process";
import { runReport } from "../models/reports/run_report.ts";
import { readRunConfig } from "../models/training/run.ts";
import { checked, UsageError } from "./usage.ts";

/** Serves the report of a run to this machine until the process is interrupted. */
export async function watch(folder: string, { port }: { port: number }): Promise<void> {
  await checked(() => readRunConfig(folder));
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"]) process.once(name, () => stop.abort());
  await listen(port, stop.signal, (request) => answer(folder, new URL(request.url))).finished;
}

function listen(
  port: number,
  signal: AbortSignal,
  handle: (request: Request) => Promise<Response>,
): Deno.HttpServer {
  const onListen = ({ port }: Deno.NetAddr) =>
    console.log(`Watch at http://127.0.0.1:${port}/ (Ctrl+C ends it)`);
  try {
    return Deno.serve({ hostname: "127.0.0.1", port, signal, onListen }, handle);
  } catch (error) {
    const reason = error instanceof Deno.errors.AddrInUse ? "is in use" : (error as Error).message;
    throw new UsageError(`--port: ${port} ${reason}; 0 finds a free one`, { cause: error });
  }
}

/** The page, or the version that tells it whether there is something new. */
async function answer(folder: string, { pathname }: URL): Promise<Response> {
  if (pathname !== "/" && pathname !== "/version") {
    return new Response("Not found\n", { status: 404 });
  }
  try {
    const version = await versionOf(folder);
    const body = pathname === "/" ? await runReport(folder, follow(version)) : version;
    const type = pathname === "/" ? "text/html; charset=utf-8" : "text/plain";
    return new Response(body, { headers: { "content-type": type, "cache-control": "no-store" } });
  } catch (error) {
    return new Response(`${(error as Error).message}\n`, { status: 500 });
  }
}

/** What changes with each file that the report shows. */
async function versionOf(folder: string): Promise<string> {
  const files = ["config.json", "metrics.jsonl", "sessions.jsonl", "samples.png", "samples"];
  const parts = [...files, "reconstructions.png", "reconstructions"].map(async (name) => {
    const info = await Deno.stat(`${folder}/${name}`).catch(() => undefined);
    return info ? `${info.size}@${info.mtime?.getTime()}` : "none";
  });
  return (await Promise.all(parts)).join(" ");
}

/** What the page does: it asks for news, and takes what is new into its place. */
function follow(version: string): string {
  return `
let version = ${JSON.stringify(version)};
const title = document.title;
setInterval(async () => {
  try {
    const found = await (await fetch("version")).text();
    document.title = title;
    if (found === version) return;
    const text = await (await fetch("./")).text();
    const news = new DOMParser().parseFromString(text, "text/html").querySelector("main");
    if (!news) return;
    version = found;
    const isOpen = [...document.querySelectorAll("details")].map((part) => part.open);
    document.querySelector("main").replaceWith(news);
    document.querySelectorAll("details").forEach((part, i) => part.open = isOpen[i]);
  } catch {
    document.title = "(no answer) " + title;
  }
}, 2000);
`;
}
