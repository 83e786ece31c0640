import { assert, assertEquals } from "@std/assert";
import type { WgslTarget } from "../../op.ts";
import { openWebgpu } from "./mod.ts";
import { runKernel, tensorOf, webgpuTest } from "./testing.ts";
import { readChoices, writeChoices } from "./tuning_cache.ts";

/** Sets the user's cache folder to a new one for the time of a test. */
async function withCacheFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const before = Deno.env.get("XDG_CACHE_HOME");
  const folder = await Deno.makeTempDir();
  Deno.env.set("XDG_CACHE_HOME", folder);
  try {
    await test(folder);
  } finally {
    if (before === undefined) Deno.env.delete("XDG_CACHE_HOME");
    else Deno.env.set("XDG_CACHE_HOME", before);
    await Deno.remove(folder, { recursive: true });
  }
}

const file = (folder: string) => `${folder}/tessera/tessera-webgpu-kernels.json`;

Deno.test("choices are kept for each adapter, and more are added", async () => {
  await withCacheFolder(async () => {
    assertEquals(await readChoices("a"), {});
    assert(await writeChoices("a", { one: { kind: "plain" } }));
    assert(await writeChoices("b", { one: 2 }));
    assert(await writeChoices("a", { two: 3 }));
    assertEquals(await readChoices("a"), { one: { kind: "plain" }, two: 3 });
    assertEquals(await readChoices("b"), { one: 2 });
  });
});

Deno.test("a damaged or forbidden file of choices counts as none", async () => {
  await withCacheFolder(async (folder) => {
    await Deno.mkdir(`${folder}/tessera`);
    for (const text of ["", "{", "[1]", '{"adapters": {"a": 1}}', '{"adapters": 3}', "null"]) {
      await Deno.writeTextFile(file(folder), text);
      assertEquals(await readChoices("a"), {}, text);
    }
    assert(await writeChoices("a", { one: 1 }));
    assertEquals(await readChoices("a"), { one: 1 });
  });
  await withCacheFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/tessera`, "a file where a folder should be");
    assertEquals(await readChoices("a"), {});
    assertEquals(await writeChoices("a", { one: 1 }), false);
  });
});

/** A kernel that writes the number of the variant which it was given. */
function numbered(target: WgslTarget, offered: (number | string)[]) {
  const chosen = target.choose!("numbered", offered);
  return [{
    name: "numbered",
    code: `@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(1) fn main() { x[0] = f32(${chosen}); }`,
    bindings: [{ operand: "output", index: 0, access: "read_write" }] as const,
    workgroups: [1, 1, 1] as const,
  }];
}

webgpuTest(
  "tuning measures every variant once, keeps the fastest, and programs take it",
  async () => {
    await withCacheFolder(async (folder) => {
      const open = async () =>
        (await openWebgpu({ allowSoftware: true, hardwareShaders: true, remember: true }))!;
      const device = await open();
      const run = async (offered: (number | string)[], on = device) => {
        const kernel = { wgsl: (_: unknown, target: WgslTarget) => numbered(target, offered) };
        const [found] = await runKernel(on, kernel, [], [{ shape: [1], dtype: "f32" }]);
        return found![0];
      };
      assertEquals(await run([3, 5]), 3);
      const [tuned, ...others] = await device.tune!();
      assertEquals([tuned!.problem, others.length], ["numbered", 0]);
      assertEquals(tuned!.before.variant, 3);
      const best = tuned!.after.variant as number;
      assert(tuned!.after.milliseconds <= tuned!.before.milliseconds);
      assertEquals(await device.tune!(), []);
      assertEquals(await run([3, 5]), best);
      device.close();

      const later = await open();
      assertEquals(await run([8, best], later), best);
      assertEquals(await run([8, 9], later), 8); // what was chosen is no longer offered
      assertEquals(await later.tune!(), []);
      later.close();
      await Deno.remove(file(folder));
    });
  },
);

webgpuTest("a program that was compiled before is compiled anew after tuning", async () => {
  const device =
    (await openWebgpu({ allowSoftware: true, hardwareShaders: true, remember: false }))!;
  const type = { shape: [1], dtype: "f32" } as const;
  const spec = { attributes: {}, inputs: [], outputs: [{ ...type, strides: [1], offset: 0 }] };
  const offered = ["1.0", "2.0 * x[0] + 7.0"];
  const plan = {
    buffers: [{ id: 0, type, bytes: 4, label: "x" }],
    steps: [{
      kind: "kernel" as const,
      name: "numbered",
      op: {
        name: "numbered",
        infer: () => [type],
        run: {
          kind: "kernel" as const,
          cpu() {},
          wgsl: (_: unknown, target: WgslTarget) => numbered(target, offered),
        },
      },
      ...{ attributes: {}, spec, reads: [], writes: [0], scratch: [] },
    }],
    bound: [0],
    temporaries: new Map(),
    temporaryBytes: 0,
    slotBytes: [],
  };
  const executable = device.prepare(plan);
  const buffer = device.allocate(4, "x");
  const run = async () => {
    device.write(buffer, type, tensorOf("f32", [1], () => 0).data);
    executable.run([buffer]);
    return (await device.read(buffer, type))[0];
  };
  assertEquals(await run(), 1);
  const [tuned] = await device.tune!();
  assertEquals(await run(), tuned!.after.variant === offered[0] ? 1 : 7);
  device.close();
});
