/** Every file format that is read: valid files, and what its readers may make of damaged ones. */
import { encodeNpy, type NpyArray, parseNpy } from "../../lib/formats/npy.ts";
import { openNpz } from "../../lib/formats/npz.ts";
import { decodePng, encodePng } from "../../lib/formats/png.ts";
import { openPytorch } from "../../lib/formats/pytorch.ts";
import { type PickleGlobal, readPickle } from "../../lib/formats/pickle.ts";
import { parseSafetensors, writeSafetensors } from "../../lib/formats/safetensors.ts";
import { namedConfigs } from "../../models/config/named.ts";
import { readConfig } from "../../models/config/read.ts";
import { decodeImage } from "../../models/data/decode_image.ts";
import { openCodes } from "../../models/data/code_files.ts";
import type { CodeDataset } from "../../models/data/codes.ts";
import { writePackedCodes } from "../../models/data/packed_codes.ts";
import { readCheckpoint, writeCheckpoint } from "../../models/training/checkpoint.ts";
import { mutate } from "./mutate.ts";
import { storedZip, withPngChecksums } from "./containers.ts";

/** A format. */
export interface Format {
  /** Valid files. */
  readonly corpus: readonly Uint8Array[];
  /** What the message of every error begins with. */
  readonly errors: RegExp;
  /** A damaged file; by default any damage to any file of the corpus. */
  damage?(random: () => number): Uint8Array;
  /**
   * Reads a file, and checks what it found.
   *
   * @throws {Error} As the reader does; {WrongValue} if it returned something that cannot be.
   */
  read(bytes: Uint8Array): unknown;
}

/** A reader returned what the file cannot hold. */
export class WrongValue extends Error {
  override readonly name = "WrongValue";
}

function expect(condition: boolean, what: string): void {
  if (!condition) throw new WrongValue(what);
}

const product = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const pick = <T>(list: readonly T[], random: () => number): T =>
  list[Math.floor(random() * list.length)]!;
const text = (value: string) => new TextEncoder().encode(value);
const fixture = (path: string) =>
  Deno.readFileSync(new URL(`../../tests/fixtures/${path}`, import.meta.url));

function checkNpy({ shape, data }: Pick<NpyArray, "shape" | "data">): void {
  expect(data.length === product(shape), `${data.length} elements for [${shape}]`);
}

async function checkCodes(dataset: CodeDataset): Promise<void> {
  await using _ = dataset;
  const { count, augmentations, tokens, grid, vocabulary, classes } = dataset;
  expect(grid[0] * grid[1] === tokens, `${tokens} tokens for a grid ${grid}`);
  const { codes, labels } = await dataset.read([0, count - 1], augmentations - 1);
  expect(codes.length === 2 * tokens && labels.length === 2, "another number of codes");
  expect(codes.every((code) => code >= 0 && code < vocabulary), "a code out of range");
  expect(labels.every((label) => label >= 0 && label < classes), "a label out of range");
}

/** The formats by name; files that must lie on a disk are written below `folder`. */
export const formats: Readonly<Record<string, (folder: string) => Format | Promise<Format>>> = {
  async safetensors(folder) {
    const path = `${folder}/weights.safetensors`;
    await writeSafetensors(path, {
      weight: { dtype: "F32", shape: [2, 3], data: new Float32Array(6) },
      "layers.0.bias": { dtype: "F16", shape: [3], data: new Uint16Array(3) },
      step: { dtype: "I64", shape: [], data: new BigInt64Array(1) },
      empty: { dtype: "BOOL", shape: [0, 4], data: new Uint8Array() },
    }, { kind: "test", note: 'with "quotes" and é' });
    return {
      corpus: [
        Deno.readFileSync(path),
        fixture("fmt/sample_random_k5_4x6__learned_pos/inputs.safetensors"),
      ],
      errors: /^Broken safetensors file in memory/,
      read(bytes) {
        for (const { shape, data } of Object.values(parseSafetensors(bytes).tensors)) {
          expect(data.length === product(shape), `${data.length} elements for [${shape}]`);
        }
      },
    };
  },

  npy: () => ({
    corpus: [
      encodeNpy({ dtype: "f4", shape: [2, 3], data: new Float32Array(6) }),
      encodeNpy({ dtype: "b1", shape: [4], data: new Uint8Array(4) }),
      encodeNpy({ dtype: "i8", shape: [], data: new BigInt64Array(1) }),
    ],
    errors: /^Broken npy file in memory: /,
    read: (bytes) => checkNpy(parseNpy(bytes)),
  }),

  npz(folder) {
    const arrays = [
      encodeNpy({ dtype: "f8", shape: [2, 2], data: new Float64Array(4) }),
      encodeNpy({ dtype: "u1", shape: [3], data: new Uint8Array(3) }),
    ];
    const corpus = [storedZip([["mu.npy", arrays[0]!], ["arr_0.npy", arrays[1]!]])];
    return {
      corpus,
      errors: /^(Broken np[yz] file (\w+ of )?|Broken npy file .* of )/,
      damage(random) {
        if (random() < 0.5) return mutate(corpus[0]!, corpus[0]!, random);
        const broken = mutate(pick(arrays, random), arrays[0]!, random);
        return storedZip([["mu.npy", broken], ["arr_0.npy", arrays[1]!]]);
      },
      async read(bytes) {
        const path = `${folder}/arrays.npz`;
        Deno.writeFileSync(path, bytes);
        await using file = await openNpz(path);
        for (const name of file.entries.keys()) {
          checkNpy(await file.read(name));
          if (file.entries.get(name)!.shape.length === 0) continue;
          for await (const slice of file.slices(name, 2)) checkNpy(slice);
        }
      },
    };
  },

  png() {
    const image = (channels: 1 | 3 | 4) => ({
      width: 5,
      height: 4,
      channels,
      data: Uint8Array.from({ length: 20 * channels }, (_, i) => (i * 37) & 255),
    });
    const corpus = ([1, 3, 4] as const).map((channels) => encodePng(image(channels)));
    return {
      corpus,
      errors: /^Broken PNG image: /,
      damage(random) {
        const broken = mutate(pick(corpus, random), pick(corpus, random), random);
        return random() < 0.7 ? withPngChecksums(broken) : broken;
      },
      read(bytes) {
        const { width, height, channels, data } = decodePng(bytes);
        expect(data.length === width * height * channels, `${data.length} bytes`);
      },
    };
  },

  jpeg() {
    const { jpeg } = JSON.parse(new TextDecoder().decode(fixture("preprocess.json")));
    return {
      corpus: [Uint8Array.fromBase64(jpeg.file)],
      errors: /^Broken (JPEG|PNG|image)/,
      async read(bytes) {
        const { width, height, channels, data } = await decodeImage(bytes);
        expect(data.length === width * height * channels, `${data.length} bytes`);
      },
    };
  },

  pickle() {
    const bytes = (content: string) => Uint8Array.from(content, (c) => c.charCodeAt(0));
    const globals = new Map<string, PickleGlobal>([
      ["collections.OrderedDict", { create: () => new Map(), setState() {} }],
    ]);
    return {
      corpus: [
        "\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01](K\x01M\x00\x02J\xff\xff\xff\xffeX\x01\x00\x00\x00bNu.",
        "\x80\x04\x95\x1f\x00\x00\x00\x00\x00\x00\x00\x8c\x0bcollections\x94\x8c\x0bOrderedDict\x94\x93\x94)R\x94.",
        "\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01G?\xf0\x00\x00\x00\x00\x00\x00K\x02\x86K\x03s.",
        "\x80\x03(C\x03abcK\x01\x8a\x02\x00\x80\x88\x89Nt\x8f(K\x01\x90\x86.",
      ].map(bytes),
      errors: /^readPickle: pickle: .* at byte \d+$/s,
      read: (file) => void readPickle(file, { globals }),
    };
  },

  pytorch(folder) {
    const corpus = [fixture("llamagen_pt/checkpoint.pt")];
    const entries = unzipStored(corpus[0]!);
    const pickled = entries.findIndex(([name]) => name.endsWith("data.pkl"));
    const path = `${folder}/checkpoint.pt`;
    return {
      corpus,
      errors: /^(openPytorch|readPickle): /,
      damage(random) {
        const [name, content] = entries[pickled]!;
        if (random() < 0.3) return mutate(corpus[0]!, content, random);
        const changed: [string, Uint8Array] = [name, mutate(content, content, random)];
        return storedZip(entries.toSpliced(pickled, 1, changed));
      },
      async read(bytes) {
        Deno.writeFileSync(path, bytes);
        await using file = await openPytorch(path);
        for (const [name, { shape }] of file.entries) {
          const { length } = await file.read(name);
          expect(length === product(shape), `${length} elements for [${shape}]`);
        }
      },
    };
  },

  config: () => ({
    corpus: Object.keys(namedConfigs).flatMap((name) => [
      text(JSON.stringify(namedConfigs[name as keyof typeof namedConfigs])),
      text(JSON.stringify(readConfig(name))),
    ]),
    errors: /^(.*: .|expected .)/s,
    read(bytes) {
      let json: unknown;
      try {
        json = JSON.parse(new TextDecoder().decode(bytes));
      } catch {
        throw new RangeError("config.json: expected JSON");
      }
      const config = readConfig(json);
      const again = JSON.stringify(readConfig(JSON.parse(JSON.stringify(config))));
      expect(again === JSON.stringify(config), "a config that reads back as another");
    },
  }),

  async checkpoint(folder) {
    const path = `${folder}/checkpoint`;
    await writeCheckpoint(path, {}, {
      stage: "model",
      step: 40,
      seed: 7,
      position: { epoch: 1, batch: 3, key: [5, 6] },
      loss: 0.25,
      config: readConfig("smoke"),
    });
    const written = JSON.stringify(await readCheckpoint(path));
    return {
      corpus: [Deno.readFileSync(`${path}/checkpoint.json`)],
      errors: /^\S+: checkpoint\.json: ./,
      async read(bytes) {
        Deno.writeFileSync(`${path}/checkpoint.json`, bytes);
        const found = JSON.stringify(await readCheckpoint(path));
        expect(found === written, "what was not written");
      },
    };
  },

  async "packed codes"(folder) {
    const path = `${folder}/codes.safetensors`;
    await writePackedCodes(path, {
      codes: Uint16Array.from({ length: 3 * 2 * 4 }, (_, i) => i % 16),
      labels: Int32Array.of(0, 1, 2),
      grid: [2, 2],
      vocabulary: 16,
      classes: 3,
    });
    return {
      corpus: [Deno.readFileSync(path)],
      errors: /^(Broken (safetensors|code) file |\S+codes\.safetensors: tensor ")/,
      async read(bytes) {
        Deno.writeFileSync(path, bytes);
        await checkCodes(await openCodes(path));
      },
    };
  },

  "code files"(folder) {
    const root = `${folder}/classes`;
    Deno.mkdirSync(`${root}/2`, { recursive: true });
    const codes = (dtype: "i4" | "i8") => {
      const data = Array.from({ length: 2 * 4 }, (_, i) => i);
      return encodeNpy({
        dtype,
        shape: [2, 4],
        data: dtype === "i4" ? Int32Array.from(data) : BigInt64Array.from(data, BigInt),
      });
    };
    return {
      corpus: [codes("i4"), codes("i8")],
      errors: /^(Broken (npy|code) file |openCodes: |\S+\.npy at \[)/,
      async read(bytes) {
        Deno.writeFileSync(`${root}/2/0.npy`, bytes);
        await checkCodes(await openCodes(root, { vocabulary: 8, classes: 3 }));
      },
    };
  },
};

/** The entries of an archive without compression. */
function unzipStored(bytes: Uint8Array): [string, Uint8Array][] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries: [string, Uint8Array][] = [];
  for (let at = 0; at + 46 <= bytes.length; at++) {
    if (view.getUint32(at, true) !== 0x02014b50) continue; // an entry of the directory
    const size = view.getUint32(at + 20, true), local = view.getUint32(at + 42, true);
    const name = bytes.subarray(at + 46, at + 46 + view.getUint16(at + 28, true));
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    entries.push([new TextDecoder().decode(name), bytes.slice(start, start + size)]);
  }
  return entries;
}
