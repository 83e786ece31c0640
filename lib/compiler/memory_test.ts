import { assert } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { type Lifetime, pack, share } from "./memory.ts";

const lifetimes: fc.Arbitrary<Lifetime[]> = fc.array(
  fc.record({ bytes: fc.integer({ min: 1, max: 2000 }), first: fc.nat(30), length: fc.nat(10) }),
  { maxLength: 40 },
).map((list) =>
  list.map(({ bytes, first, length }, id) => ({ id, bytes, first, last: first + length }))
);

const alive = (a: Lifetime, b: Lifetime) => a.first <= b.last && b.first <= a.last;

Deno.test("packed temporaries that live together do not overlap", () => {
  fc.assert(fc.property(lifetimes, (list) => {
    const { offsets, bytes } = pack(list);
    for (const a of list) {
      assert(offsets.get(a.id)! % 64 === 0);
      assert(offsets.get(a.id)! + a.bytes <= bytes);
      for (const b of list) {
        if (a.id >= b.id || !alive(a, b)) continue;
        const [low, high] = [a, b].sort((x, y) => offsets.get(x.id)! - offsets.get(y.id)!);
        assert(offsets.get(low!.id)! + low!.bytes <= offsets.get(high!.id)!);
      }
    }
  }));
});

Deno.test("temporaries that share a slot do not live together and fit it", () => {
  fc.assert(fc.property(lifetimes, (list) => {
    const { slots, bytes } = share(list);
    for (const a of list) {
      assert(bytes[slots.get(a.id)!]! >= a.bytes);
      for (const b of list) {
        if (a.id < b.id && slots.get(a.id) === slots.get(b.id)) assert(!alive(a, b));
      }
    }
  }));
});
