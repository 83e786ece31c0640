/** `watch` as a person uses it: a page that follows a run, and ends when it is asked to. */
import { assertEquals, assertMatch, assertNotEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { readConfig } from "../models/config/read.ts";
import { assertMisuse, inFolder } from "./command_line.ts";

Deno.test("watch serves the report of a run, says when there is something new, and ends on SIGINT", () =>
  inFolder(async (folder) => {
    await assertMisuse(["watch", join(folder, "none")], /none/);
    await Deno.writeTextFile(join(folder, "config.json"), JSON.stringify(readConfig("smoke")));
    await assertMisuse(["watch", folder, "--port", "70000"], /--port: 70000 /);

    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", new URL("../cli.ts", import.meta.url).href, "watch", folder, "--port=0"],
      env: { NO_COLOR: "1" },
      stdout: "piped",
    }).spawn();
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    try {
      let printed = "";
      while (!printed.includes("\n")) printed += (await reader.read()).value ?? "\n";
      const url = /http:\S+/.exec(printed)![0];
      assertMatch(url, /^http:\/\/127\.0\.0\.1:\d+\/$/);
      const get = async (path: string) => await (await fetch(url + path)).text();

      const page = await get(""), version = await get("version");
      assertStringIncludes(page, "<td>0 of 40</td>");
      assertStringIncludes(page, JSON.stringify(version));
      const line = { stage: "model", step: 10, loss: 2.5, ms: 1, skipped: 0 };
      await Deno.writeTextFile(join(folder, "metrics.jsonl"), `${JSON.stringify(line)}\n`);
      assertNotEquals(await get("version"), version);
      assertStringIncludes(await get(""), "<td>10 of 40</td>");
      const file = await fetch(`${url}config.json`);
      assertEquals([file.status, await file.text()], [404, "Not found\n"]);
      await assertMisuse(["watch", folder, "--port", new URL(url).port], /is in use/);
    } finally {
      child.kill("SIGINT");
      await reader.cancel();
    }
    assertEquals((await child.status).code, 0);
  }));
