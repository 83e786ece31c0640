// Workers that share the decoding of images.
import type { DecodeRequest, DecodeResult } from "./decode_worker.ts";

/** Workers that decode images; they live until `close` or the end of a `using` scope. */
export interface DecodePool extends Disposable {
  /** Decodes an image as soon as a worker is free, requests in turn. */
  decode(request: DecodeRequest): Promise<DecodeResult>;
  /** Ends the workers, each after the image it decodes; what has not been decoded by then never will be. */
  close(): void;
}

interface Job {
  request: DecodeRequest;
  resolve(result: DecodeResult): void;
  reject(error: Error): void;
}

/**
 * Starts workers that decode images. An image that brings its worker down is a broken one, and the
 * worker is replaced; only workers that cannot even start fail all requests.
 *
 * @param workers how many, at least 1
 * @returns the pool
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { openDecodePool } from "./decode_pool.ts";
 *
 * using pool = openDecodePool(1);
 * const request = { path: "none.png", size: 8, augmentation: "center", key: [0, 0] } as const;
 * assert("broken" in await pool.decode(request));
 * ```
 */
export function openDecodePool(workers: number): DecodePool {
  const idle: Worker[] = [];
  const waiting: Job[] = [];
  const current = new Map<Worker, Job>();
  let failure: Error | undefined;
  let isClosed = false;

  const assign = () => {
    while (idle.length > 0 && waiting.length > 0) {
      const [worker, job] = [idle.pop()!, waiting.shift()!];
      current.set(worker, job);
      worker.postMessage(job.request);
    }
  };
  const start = () => {
    const worker = new Worker(new URL("./decode_worker.ts", import.meta.url), { type: "module" });
    let isReady = false;
    worker.onmessage = ({ data }: MessageEvent<DecodeResult | "ready">) => {
      if (isClosed) return worker.terminate();
      isReady = true;
      if (data !== "ready") current.get(worker)?.resolve(data);
      current.delete(worker);
      idle.push(worker);
      assign();
    };
    worker.onerror = (event) => {
      event.preventDefault();
      worker.terminate();
      if (isClosed) return;
      if (isReady) {
        current.get(worker)?.resolve({ broken: `its decoder stopped: ${event.message}` });
        current.delete(worker);
        start();
      } else {
        failure = new Error(`The workers that decode images cannot start: ${event.message}`);
        for (const { reject } of [...waiting.splice(0), ...current.values()]) reject(failure);
      }
    };
  };
  const close = () => {
    isClosed = true;
    // A busy worker ends with its next message: Deno panics where a worker dies that is compiling its decoder.
    for (const worker of idle) worker.terminate();
    idle.length = waiting.length = 0;
  };
  for (let i = 0; i < workers; i++) start();
  return {
    decode(request) {
      if (failure) return Promise.reject(failure);
      const { promise, resolve, reject } = Promise.withResolvers<DecodeResult>();
      waiting.push({ request, resolve, reject });
      assign();
      return promise;
    },
    close,
    [Symbol.dispose]: close,
  };
}
