import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ExprBuilder } from "../../compiler/expr.ts";
import type { Plan } from "../../compiler/plan.ts";
import type { Op } from "../../op.ts";
import { DeviceLostError, OutOfMemoryError } from "../errors.ts";
import { openWebgpu } from "./mod.ts";
import { tensorOf, webgpuTest } from "./testing.ts";

const type = { shape: [4], dtype: "f32" } as const;

/** c = a + 1 through a temporary, copied to d, which then is doubled in place. */
function chain(): Plan {
  const e = new ExprBuilder();
  const i = e.variable(0, 4);
  const x = e.load(0, "f32", i);
  const loop = (name: string, value: typeof x, read: number, write: number) => ({
    kind: "loop" as const,
    name,
    kernel: { rows: [4], columns: [], passes: [], rowStores: [{ slot: 0, index: i, value }] },
    reads: [read],
    writes: [write],
  });
  return {
    buffers: [0, 1, 2].map((id) => ({ id, type, bytes: 16, label: `value ${id}` })),
    steps: [
      loop("add", e.apply("add", x, e.constant("f32", 1)), 0, 1),
      { kind: "copy", name: "copy", reads: [1], writes: [2] },
      loop("double", e.apply("add", x, x), 2, 2),
    ],
    bound: [0, 2],
    temporaries: new Map([[1, { offset: 0, slot: 0 }]]),
    temporaryBytes: 16,
    slotBytes: [16],
  };
}

/** One step that runs a hand-written shader on one buffer. */
function shader(code: string, workgroups: readonly [number, number, number] = [1, 1, 1]): Plan {
  const op: Op & { run: { kind: "kernel" } } = {
    name: "written",
    infer: () => [type],
    run: {
      kind: "kernel",
      cpu() {},
      wgsl: () => [{
        name: "written",
        code,
        bindings: [{ operand: "output", index: 0, access: "read_write" }],
        workgroups,
      }],
    },
  };
  const view = { ...type, strides: [1], offset: 0 };
  const spec = { attributes: {}, inputs: [], outputs: [view] };
  return {
    buffers: [{ id: 0, type, bytes: 16, label: "value 0" }],
    steps: [{
      kind: "kernel",
      name: "written",
      op,
      attributes: {},
      spec,
      reads: [],
      writes: [0],
      scratch: [],
    }],
    bound: [0],
    temporaries: new Map(),
    temporaryBytes: 0,
    slotBytes: [],
  };
}

webgpuTest("elements of every type come back as they were written", async (backend) => {
  const types = ["f32", "i32", "u32", "bool", "f16"] as const;
  for (const dtype of types.slice(0, backend.features.f16 ? 5 : 4)) {
    for (const n of [0, 1, 7, 1000]) {
      const { data, ...type } = tensorOf(dtype, [n], (i) => (i % 5) % (dtype === "bool" ? 2 : 9));
      const buffer = backend.allocate(4 * n, "value");
      backend.write(buffer, type, data);
      assertEquals(await backend.read(buffer, type), data);
      backend.release(buffer);
    }
  }
});

webgpuTest("a plan is one submission, and repeating it allocates nothing", async (backend) => {
  const executable = backend.prepare(chain());
  const a = backend.allocate(16, "a"), d = backend.allocate(16, "d");
  const before = { ...backend.counters };
  for (let step = 0; step < 20; step++) {
    backend.write(a, type, Float32Array.of(step, 1, 2, 3));
    executable.run([a, d]);
    assertEquals(await backend.read(d, type), Float32Array.of(2 * step + 2, 4, 6, 8));
  }
  const { allocations, submissions, dispatches, readbacks } = backend.counters;
  assertEquals(allocations, before.allocations);
  assertEquals(submissions - before.submissions, 20);
  assertEquals(dispatches - before.dispatches, 40);
  assertEquals(readbacks - before.readbacks, 20);
  executable.dispose();
  backend.release(a);
  backend.release(d);
});

webgpuTest("released memory is used again, and bytes in use are counted", (backend) => {
  const before = { ...backend.counters };
  const first = backend.allocate(5000, "first");
  assertEquals(backend.counters.bytesLive, before.bytesLive + 5000);
  backend.release(first);
  assertThrows(() => backend.release(first), Error, "still in use");
  const made = backend.counters.allocations;
  const second = backend.allocate(4999, "second");
  assertEquals(backend.counters.allocations, made);
  backend.release(second);
  assertEquals(backend.counters.bytesLive, before.bytesLive);
});

webgpuTest("plans share the memory of their temporaries", (backend) => {
  const live = () => backend.counters.bytesLive;
  const before = live();
  const first = backend.prepare(chain());
  const one = live();
  const second = backend.prepare(chain());
  assertEquals([one - before, live()], [16, one]);
  first.dispose();
  assertEquals(live(), one);
  second.dispose();
  assertEquals(live(), before);
});

webgpuTest("memory that the device cannot bind is refused by name", (backend) => {
  const bytes = backend.limits.bytesPerBuffer + 4;
  assertThrows(() => backend.allocate(bytes, "logits [B, N, V]"), RangeError, "logits [B, N, V]");
});

webgpuTest("a shader that does not compile is shown with line numbers", async (backend) => {
  const executable = backend.prepare(shader("@compute @workgroup_size(1)\nfn main() { wrong(); }"));
  const buffer = backend.allocate(16, "value");
  try {
    executable.run([buffer]);
  } catch {
    // The error is allowed to come this early.
  }
  const error = await assertRejects(
    () => backend.read(buffer, type),
    Error,
    "the shader of written",
  );
  assert(error.message.includes("2 | fn main() { wrong(); }"), error.message);
  assertThrows(() => executable.run([buffer]), Error, "the shader of written");
  await backend.synchronize();
  backend.release(buffer);
});

webgpuTest("too many workgroups, and too small or shared buffers, are refused", (backend) => {
  const code = "@group(0) @binding(0) var<storage, read_write> x: array<f32>;\n" +
    "@compute @workgroup_size(1) fn main() { x[0] = 1.0; }";
  assertThrows(() => backend.prepare(shader(code, [70000, 1, 1])), RangeError, "workgroups");
  const executable = backend.prepare(chain());
  const a = backend.allocate(16, "a");
  assertThrows(() => executable.run([a]), TypeError, "2 buffers");
  executable.dispose();
  backend.release(a);
});

webgpuTest(
  "a device takes no more memory than it may, and gives up what is free before",
  async () => {
    const own = (await openWebgpu({ allowSoftware: true, maximumBytes: 2 ** 20 }))!;
    const most = own.allocate(2 ** 20 - 2 ** 18, "most");
    const wanted = () => own.allocate(2 ** 19, "logits [B, N, V]");
    const error = assertThrows(wanted, OutOfMemoryError);
    assertEquals(
      error.message,
      "webgpu: expected room for logits [B, N, V] (524288 bytes) but found 786432 bytes in use of at most 1048576",
    );
    own.release(most);
    own.release(wanted());
    own.close();
  },
);

webgpuTest("a closed device says so", async () => {
  const own = (await openWebgpu({ allowSoftware: true }))!;
  own.close();
  assertThrows(() => own.allocate(16, "value"), DeviceLostError, "closed");
});
