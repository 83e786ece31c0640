import { assertEquals } from "@std/assert";
import { availableCores, coreShare, shareCores } from "./cores.ts";

Deno.test("processes of one machine share the cores that both may run on, bound ones keep theirs", () => {
  const on = (...cores: number[]) => ({ host: "a", cores });
  assertEquals(coreShare(0, [on(0), on(1)]), 1); // each bound to a core
  assertEquals(coreShare(1, [on(0, 1), on(0, 1)]), 0.5); // not bound
  assertEquals(coreShare(0, [on(0, 1), { host: "b", cores: [0, 1] }]), 1);
  assertEquals(coreShare(2, [{ host: "a" }, { host: "a" }, { host: "a" }]), 1 / 3);
});

Deno.test("a share of the cores is at least one of them", () => {
  try {
    shareCores(1e-3);
    assertEquals(availableCores(), 1);
  } finally {
    shareCores(1);
  }
  assertEquals(availableCores(), navigator.hardwareConcurrency);
});
