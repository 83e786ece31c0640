import { assertEquals, assertRejects } from "@std/assert";
import { Uint8ArrayReader, Uint8ArrayWriter, ZipWriter } from "npm:@zip.js/zip.js@2.24.0";
import { openPytorch } from "./pytorch.ts";
import type { SafetensorsArray } from "./safetensors.ts";

const fixture = new URL("../../tests/fixtures/llamagen_pt/checkpoint.pt", import.meta.url);

/** A pickled text. */
function text(value: string): string {
  return `X${String.fromCharCode(value.length, 0, 0, 0)}${value}`;
}

/** A pickled tensor of storage 0: f32 elements, seen from an offset with sizes and strides. */
function tensor(length: number, offset: number, sizes: number[], strides: number[]): string {
  const tuple = (values: number[]) =>
    `(${values.map((value) => `K${String.fromCharCode(value)}`).join("")}t`;
  const storage = `(${text("storage")}ctorch\nFloatStorage\n${text("0")}${text("cpu")}K${
    String.fromCharCode(length)
  }tQ`;
  return `ctorch._utils\n_rebuild_tensor_v2\n(${storage}K${String.fromCharCode(offset)}${
    tuple(sizes)
  }${tuple(strides)}\x89ccollections\nOrderedDict\n)RtR`;
}

/** A pickled dict. */
function dict(entries: Record<string, string>): string {
  return `}(${Object.entries(entries).map(([key, value]) => text(key) + value).join("")}u`;
}

/** Runs an action on an archive with this pickle and storage 0. */
async function withArchive(
  pickle: string,
  storage: ArrayBufferView<ArrayBuffer>,
  action: (path: string) => Promise<void>,
  options: { level?: number; zip64?: boolean; name?: string; order?: string } = {},
): Promise<void> {
  const { level = 0, zip64 = false, name = "archive/data.pkl", order = "little" } = options;
  const zip = new ZipWriter(new Uint8ArrayWriter(), { level, zip64 });
  const add = (name: string, bytes: Uint8Array) => zip.add(name, new Uint8ArrayReader(bytes));
  const bytes = Uint8Array.from(`\x80\x02${pickle}.`, (character) => character.charCodeAt(0));
  await add(name, bytes);
  await add("archive/byteorder", new TextEncoder().encode(order));
  await add(
    "archive/data/0",
    new Uint8Array(storage.buffer, storage.byteOffset, storage.byteLength),
  );
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeFile(path, await zip.close());
    await action(path);
  } finally {
    await Deno.remove(path);
  }
}

const six = new Float32Array([0, 1, 2, 3, 4, 5]);

Deno.test("a checkpoint of torch.save is read: types, views, parameters, and beside them an optimizer", async () => {
  await using file = await openPytorch(fixture);
  assertEquals(file.entries.size, 16);
  const wanted: Record<string, [string, number[], SafetensorsArray]> = {
    whole: ["F32", [4, 6], Float32Array.from({ length: 24 }, (_, i) => i)],
    column: ["F32", [4], new Float32Array([2, 8, 14, 20])],
    transposed: ["F32", [6, 4], Float32Array.from({ length: 24 }, (_, i) => i % 4 * 6 + (i >> 2))],
    part: ["F32", [2, 3], new Float32Array([8, 9, 10, 14, 15, 16])],
    bf16: ["BF16", [3], new Uint16Array([0x3fc0, 0xc010, 0x7f62])],
    f16: ["F16", [2, 1], new Float16Array([0.5, -65504])],
    f64: ["F64", [], new Float64Array([Math.PI])],
    i64: ["I64", [2], new BigInt64Array([2n ** 40n, -1n])],
    i32: ["I32", [2], new Int32Array([7, 8])],
    u8: ["U8", [2], new Uint8Array([0, 255])],
    flags: ["BOOL", [2], new Uint8Array([1, 0])],
    empty: ["F32", [0, 3], new Float32Array(0)],
    parameter: ["F32", [2], new Float32Array([1, 2])],
    broadcast: ["F32", [3], new Float32Array([9, 9, 9])],
  };
  for (const [name, [dtype, shape, data]] of Object.entries(wanted)) {
    const entry = file.entries.get(name)!;
    assertEquals([entry.dtype, entry.shape], [dtype, shape], name);
    assertEquals(await file.read(name), data, name);
  }
  await assertRejects(() => file.read("other"), RangeError, `no tensor "other"`);
});

Deno.test("tensors read at the same time, and twice, do not share memory", async () => {
  await using file = await openPytorch(fixture);
  const names = ["whole", "whole", "transposed", "column", "transposed"];
  const [a, b, , , c] = await Promise.all(names.map((name) => file.read(name)));
  (a as Float32Array).fill(-1);
  assertEquals([b![1], c![1]], [1, 6]);
  assertEquals((await file.read("transposed"))[1], 6);
});

Deno.test("the weights are found in a bare dict, under the usual keys, or under a given one", async () => {
  const weights = (offset: number) => dict({ w: tensor(6, offset, [2], [2]) });
  const namesOf = async (path: string, part?: string) => {
    await using file = await openPytorch(path, { part });
    return [[...file.entries.keys()], await file.read([...file.entries.keys()][0]!)];
  };
  await withArchive(weights(1), six, async (path) => {
    assertEquals(await namesOf(path), [["w"], new Float32Array([1, 3])]);
  });
  await withArchive(
    dict({ ema: weights(0), model: weights(1), steps: "K\x07" }),
    six,
    async (path) => {
      assertEquals(await namesOf(path), [["w"], new Float32Array([1, 3])]);
      assertEquals(await namesOf(path, "ema"), [["w"], new Float32Array([0, 2])]);
      await assertRejects(
        () => openPytorch(path, { part: "state_dict" }),
        Error,
        "expected a part state_dict but found ema, model, steps",
      );
    },
  );
  for (const part of ["module", "state_dict", "ema"]) {
    await withArchive(dict({ steps: "K\x07", [part]: weights(3) }), six, async (path) => {
      assertEquals(await namesOf(path), [["w"], new Float32Array([3, 5])]);
    });
  }
  await withArchive(dict({ layers: `](${weights(0)}e`, steps: "N" }), six, async (path) => {
    assertEquals(await namesOf(path), [["layers.0.w"], new Float32Array([0, 2])]);
  });
});

Deno.test("archives in the 64-bit form of zip are read", async () => {
  await withArchive(dict({ w: tensor(6, 0, [6], [1]) }), six, async (path) => {
    await using file = await openPytorch(path);
    assertEquals(await file.read("w"), six);
  }, { zip64: true });
});

Deno.test("what would run code is refused by name, and nothing else is read", async () => {
  const harmful = {
    "refused global os.system": `cos\nsystem\n(${text("exit")}tR`,
    "refused global torch.load": "ctorch\nload\n",
    "refused global torch.ComplexFloatStorage": "ctorch\nComplexFloatStorage\n",
    "refused global torch._utils._rebuild_tensor": "ctorch._utils\n_rebuild_tensor\n",
    "refused global numpy.core.multiarray.scalar": "cnumpy.core.multiarray\nscalar\n",
  };
  for (const [problem, pickled] of Object.entries(harmful)) {
    await withArchive(dict({ w: tensor(6, 0, [6], [1]), x: pickled }), six, async (path) => {
      await assertRejects(() => openPytorch(path), Error, problem);
    });
  }
});

Deno.test("tensors that leave their storage, and storages of another size, are refused by name", async () => {
  const cases: [string, string][] = [
    [tensor(6, 1, [6], [1]), "within its storage of 6 but found number 6"],
    [tensor(6, 0, [2, 2], [5, 1]), "within its storage of 6 but found number 6"],
    [tensor(6, 0, [2, 2], [1]), "as many strides as sizes but found 1 and 2"],
    [tensor(6, 0, [255, 255, 255, 255, 255, 255, 255, 255], [0, 0, 0, 0, 0, 0, 0, 0]), "too large"],
  ];
  for (const [tensor, problem] of cases) {
    await withArchive(dict({ w: tensor }), six, async (path) => {
      await assertRejects(() => openPytorch(path), Error, `tensor "w": `);
      await assertRejects(() => openPytorch(path), Error, problem);
    });
  }
  await withArchive(dict({ w: tensor(7, 0, [7], [1]) }), six, async (path) => {
    await using file = await openPytorch(path);
    await assertRejects(() => file.read("w"), Error, "storage 0 to have 28 bytes but found 24");
  });
});

Deno.test("files that are no archives of torch.save are refused", async () => {
  const path = await Deno.makeTempFile();
  await Deno.writeTextFile(path, "\x80\x02legacy ".repeat(20));
  await assertRejects(() => openPytorch(path), Error, "expected a zip archive");
  await Deno.remove(path);
  const weights = dict({ w: tensor(6, 0, [6], [1]) });
  const refused = (options: Parameters<typeof withArchive>[3], problem: string) =>
    withArchive(weights, six, async (path) => {
      await assertRejects(() => openPytorch(path), Error, problem);
    }, options);
  await refused({ name: "archive/other.pkl" }, "found no data.pkl");
  await refused({ level: 6 }, "compressed or encrypted");
  await refused({ order: "big" }, "another byte order");
});

Deno.test("a cut or damaged file is refused with a message that names it", async () => {
  const bytes = await Deno.readFile(fixture);
  const path = await Deno.makeTempFile();
  const tryRead = async () => {
    try {
      await using file = await openPytorch(path);
      for (const name of file.entries.keys()) await file.read(name);
    } catch (error) {
      assertEquals((error as Error).message.includes(path), true, String(error));
    }
  };
  for (let length = 0; length < bytes.length; length += 397) {
    await Deno.writeFile(path, bytes.subarray(0, length));
    await assertRejects(() => openPytorch(path), Error, path);
  }
  for (let at = 0; at < bytes.length; at += 61) {
    await Deno.writeFile(path, bytes.with(at, bytes[at]! ^ 0xff));
    await tryRead();
  }
  await Deno.remove(path);
});
