import { assert, assertEquals } from "@std/assert";
import {
  adamw,
  clipByGlobalNorm,
  gelu,
  jit,
  matmul,
  mean,
  normal,
  randomKey,
  square,
  sub,
  type Tensor,
  tensor,
  treeLeaves,
  valueAndGrad,
} from "../mod.ts";
import { devices, testOnDevices } from "./devices.ts";

type Params = { first: Tensor; second: Tensor };

const fresh = async () => {
  const params: Params = {
    first: normal(randomKey(1), [8, 32]),
    second: normal(randomKey(2), [32, 4]),
  };
  const state = adamw.init(params);
  await Promise.all([...treeLeaves(params), ...treeLeaves(state)].map((x) => x.data()));
  return { params, state };
};
const batch = (step: number) =>
  tensor(Float32Array.from({ length: 16 * 8 }, (_, i) => Math.sin(i + step)), { shape: [16, 8] });
const train = () =>
  jit((params: Params, state: ReturnType<typeof adamw.init<Params>>, x: Tensor) => {
    const loss = (p: Params) => mean(square(sub(matmul(gelu(matmul(x, p.first)), p.second), 1)));
    const [value, gradients] = valueAndGrad(loss)(params);
    const [p, s] = adamw.update(params, clipByGlobalNorm(gradients, 1), state);
    return { value, params: p, state: s };
  }, { donate: [0, 1] });
const compiled = devices.filter((name) => name !== "reference");

testOnDevices(
  "a training step is one submission and allocates nothing when it is repeated",
  async (device) => {
    let { params, state } = await fresh();
    const step = train();
    for (let i = 0; i < 3; i++) ({ params, state } = step(params, state, batch(i)));
    await params.first.data();
    const before = { ...device.counters };
    for (let i = 3; i < 13; i++) ({ params, state } = step(params, state, batch(i)));
    const after = { ...device.counters };
    assertEquals(after.submissions - before.submissions, 10);
    assertEquals(after.allocations - before.allocations, 0);
    assertEquals(after.compilations - before.compilations, 0);
    assertEquals(after.readbacks - before.readbacks, 0);
  },
  compiled,
);

testOnDevices("a loop of 2,000 steps does not grow in memory", async (device) => {
  let { params, state } = await fresh();
  const step = train();
  let before = { host: 0, device: 0 };
  for (let i = 0; i < 2000; i++) {
    const result = step(params, state, batch(i));
    ({ params, state } = result);
    if (i % 100 === 0) assert(Number.isFinite(await result.value.item()));
    if (i === 500) {
      before = { host: Deno.memoryUsage().rss, device: device.counters.bytesLive };
    }
  }
  await params.first.data();
  const after = { host: Deno.memoryUsage().rss, device: device.counters.bytesLive };
  // A step handles about 20 kB; 1,500 leaked steps would be 30 MB.
  assert(after.device - before.device < 1e6, `${after.device - before.device} bytes on the device`);
  assert(after.host - before.host < 64e6, `${after.host - before.host} bytes on the host`);
}, compiled);
