/** The times of dispatches on a WebGPU device: a pass for each, with timestamps around it. */

/** The largest query set that WebGPU allows, in timestamps. */
const largestSet = 4096;

/** Timestamps of some passes of one command encoder. */
export interface Timestamps {
  /** What the descriptor of the pass number `pass` says. */
  writes(pass: number): GPUComputePassTimestampWrites;
  /** To be encoded after the last pass. */
  resolve(encoder: GPUCommandEncoder): void;
  /** The milliseconds of each pass, after the commands were submitted; to be called once. */
  read(): Promise<number[]>;
}

/** Makes timestamps for so many passes, of a device with the feature `timestamp-query`. */
export function createTimestamps(device: GPUDevice, passes: number): Timestamps {
  const sets: GPUQuerySet[] = [];
  for (let first = 0; first < 2 * passes; first += largestSet) {
    const count = Math.min(largestSet, 2 * passes - first);
    sets.push(device.createQuerySet({ type: "timestamp", count }));
  }
  const size = Math.max(16, 16 * passes);
  const { QUERY_RESOLVE, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage;
  const resolved = device.createBuffer({ size, usage: QUERY_RESOLVE | COPY_SRC });
  const staging = device.createBuffer({ size, usage: COPY_DST | MAP_READ });
  return {
    writes: (pass) => ({
      querySet: sets[Math.floor(2 * pass / largestSet)]!,
      beginningOfPassWriteIndex: 2 * pass % largestSet,
      endOfPassWriteIndex: 2 * pass % largestSet + 1,
    }),
    resolve(encoder) {
      sets.forEach((set, i) => {
        encoder.resolveQuerySet(set, 0, set.count, resolved, 8 * largestSet * i);
      });
      encoder.copyBufferToBuffer(resolved, 0, staging, 0, size);
    },
    async read() {
      await staging.mapAsync(GPUMapMode.READ);
      const nanoseconds = new BigUint64Array(staging.getMappedRange().slice(0));
      for (const owner of [...sets, resolved, staging]) owner.destroy();
      return Array.from(
        { length: passes },
        (_, pass) => Number(nanoseconds[2 * pass + 1]! - nanoseconds[2 * pass]!) / 1e6,
      );
    },
  };
}
