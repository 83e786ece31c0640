// The Fully Masked Transformer against fixtures of an independent implementation, on every device.
import { assertEquals } from "@std/assert";
import { verifyFixtures } from "../models/verify.ts";
import { testOnDevices } from "./devices.ts";

const folder = new URL("fixtures/fmt", import.meta.url).pathname;
const fixtures = {
  "masks.json": 18,
  "random_k5_4x6__learned_pos": 54,
  "rope_tables.safetensors": 6,
  "sample_ar_raster_4x6__learned_pos__cls_zero": 74,
  "sample_random_k5_4x6__learned_pos": 17,
};

testOnDevices(
  "logits, losses, gradients and sampled tokens are those of the fixtures",
  async () => {
    const verified = await verifyFixtures(folder);
    assertEquals(
      Object.fromEntries(verified.map(({ name, rows }) => [name, rows.length])),
      fixtures,
    );
    const misses = verified.flatMap(({ name, rows }) =>
      rows.filter(({ ok }) => !ok).map((row) => ({ fixture: name, ...row }))
    );
    assertEquals(misses, []);
  },
);
