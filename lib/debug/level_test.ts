import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { parseLevel } from "./level.ts";

/** What a program prints on standard error at a level. */
async function printed(level: string, device = "wasm"): Promise<string> {
  const module = (path: string) => JSON.stringify(String(new URL(path, import.meta.url)));
  const code = `
    import { openDevice } from ${module("../device.ts")};
    import { tensor } from ${module("../tensor.ts")};
    import { jit } from ${module("../transforms/jit.ts")};
    import { add } from ${module("../../ops/arithmetic.ts")};
    await openDevice("${device}");
    const f = jit((x) => add(x.a, 1), { name: "increment" });
    await f({ a: tensor([1, 2]) }).data();
    await f({ a: tensor([1, 2, 3]) }).data();
    Deno.exit(0);`;
  const { stderr, success } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-check", code],
    env: { TESSERA_DEBUG: level, NO_COLOR: "1" },
    stderr: "piped",
  }).output();
  const text = new TextDecoder().decode(stderr);
  assert(success, text);
  return text;
}

Deno.test("TESSERA_DEBUG is a level in 0..4, and nothing else", () => {
  assertEquals(["", undefined, "0", "4"].map(parseLevel), [0, 0, 0, 4]);
  for (const text of ["5", "-1", "1.5", "yes"]) {
    assertThrows(
      () => parseLevel(text),
      RangeError,
      `TESSERA_DEBUG: expected a level in 0..4 but found "${text}"`,
    );
  }
});

Deno.test("level 0 is silent, level 1 says which argument made a function compile again", async () => {
  assertEquals(await printed("0"), "");
  assertEquals(
    await printed("1"),
    "tessera: increment is compiled again: argument 0.a was f32[2] and is f32[3]\n",
  );
});

Deno.test("level 3 adds kernel times and plans", async () => {
  const text = await printed("3");
  assertMatch(text, /increment is compiled again/);
  assertMatch(text, /plan of increment\n {3}0 {2}loop {4}add -> f32\[2\]/);
  assertMatch(text, /increment: 1 steps in [\d.]+ ms\nprogram .*share\nincrement +add +loop/);
});

const adapter = await navigator.gpu?.requestAdapter();

Deno.test({
  name: "level 4 adds the WGSL of every shader",
  ignore: !adapter,
  async fn() {
    assertMatch(await printed("4", "webgpu"), /shader of add\n[^]*@compute [^]*fn main/);
  },
});
