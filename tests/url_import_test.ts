import { assert, assertEquals } from "@std/assert";
import { dirname, extname, fromFileUrl, join } from "@std/path";
import type { DeviceName } from "../lib/backends/backend.ts";
import { devices, testOnDevices } from "./devices.ts";

const root = dirname(dirname(fromFileUrl(import.meta.url)));

/** A program in another folder that knows the library by its URL alone. */
const program = (url: string, device: DeviceName) => `
import {
  adamw, jit, matmul, mean, openDevice, square, sub, tensor, valueAndGrad,
} from "${url}";
await openDevice("${device}");
const x = tensor(Float32Array.from({ length: 96 }, (_, i) => Math.sin(i * i)), { shape: [32, 3] });
const y = matmul(x, tensor([[1], [-2], [3]]));
let params = { w: tensor([[0], [0], [0]]) };
let state = adamw.init(params);
const loss = (p) => mean(square(sub(matmul(x, p.w), y)));
const step = jit((p, s) => {
  const [value, gradients] = valueAndGrad(loss)(p);
  return [value, ...adamw.update(p, gradients, s, { learningRate: 0.1 })];
}, { donate: [0, 1] });
for (let i = 0; i < 200; i++) [, params, state] = step(params, state);
console.log(JSON.stringify((await params.w.toArray()).flat().map((w) => Math.round(w * 100) / 100)));
Deno.exit(0);
`;

testOnDevices(
  "a linear model trains in another folder with mod.ts imported by URL",
  async (device) => {
    const server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {} },
      async (request) => {
        const path = join(root, new URL(request.url).pathname);
        if (extname(path) !== ".ts") return new Response("not found", { status: 404 });
        return new Response(await Deno.readTextFile(path), {
          headers: { "content-type": "application/typescript" },
        });
      },
    );
    const folder = await Deno.makeTempDir();
    try {
      const file = join(folder, "train.js");
      await Deno.writeTextFile(
        file,
        program(`http://127.0.0.1:${server.addr.port}/mod.ts`, device.name),
      );
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-config", "--no-lock", "--reload=http://127.0.0.1", file],
        cwd: folder,
      }).output();
      assert(code === 0, new TextDecoder().decode(stderr));
      assertEquals(new TextDecoder().decode(stdout).trim(), "[1,-2,3]");
    } finally {
      await Deno.remove(folder, { recursive: true });
      await server.shutdown();
    }
  },
  devices.filter((name) => name !== "reference"),
);

Deno.test("what mod.ts reaches imports Node's modules where they are used only, as browsers need", async () => {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", new URL("../mod.ts", import.meta.url).href],
  }).output();
  assert(code === 0, new TextDecoder().decode(stderr));
  interface Module {
    readonly specifier: string;
    readonly dependencies?: readonly { readonly specifier: string; readonly isDynamic?: boolean }[];
  }
  const { modules } = JSON.parse(new TextDecoder().decode(stdout)) as { modules: Module[] };
  const imports = modules.flatMap(({ specifier: from, dependencies = [] }) =>
    dependencies.filter(({ isDynamic }) => !isDynamic).map(({ specifier }) =>
      `${specifier} in ${from}`
    )
  );
  assert(imports.some((line) => line.startsWith("./")));
  assertEquals(imports.filter((line) => !/^(npm:|\.)/.test(line)), []);
});
