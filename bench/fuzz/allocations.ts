/** Notices memory that is taken because a number in a file says so. */

/** Thrown where more is allocated than a small file can need. */
export class HugeAllocation extends Error {
  override readonly name = "HugeAllocation";
}

/**
 * Makes every typed array and buffer of more than so many bytes an error. To be called before the
 * modules that are watched are loaded.
 */
export function refuseHugeAllocations(mostBytes: number): void {
  const classes = [
    "ArrayBuffer",
    "SharedArrayBuffer",
    "Uint8Array",
    "Uint8ClampedArray",
    "Int8Array",
    "Uint16Array",
    "Int16Array",
    "Float16Array",
    "Uint32Array",
    "Int32Array",
    "Float32Array",
    "Float64Array",
    "BigInt64Array",
    "BigUint64Array",
  ];
  // deno-lint-ignore no-explicit-any
  const scope = globalThis as any;
  for (const name of classes) {
    const width: number = scope[name].BYTES_PER_ELEMENT ?? 1;
    scope[name] = new Proxy(scope[name], {
      construct(target, args, newTarget) {
        const [length] = args;
        if (typeof length === "number" && length * width > mostBytes) {
          throw new HugeAllocation(`${name} of ${length} elements`);
        }
        return Reflect.construct(target, args, newTarget);
      },
    });
  }
}
