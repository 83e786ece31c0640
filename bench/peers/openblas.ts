/** OpenBLAS of the system, called through FFI, as a peer. */
import { type Contestant, timed } from "../harness.ts";
import { sample, wave } from "../inputs.ts";

/** A square matrix product. */
export function openblasGemm(size: number, threads: number): Contestant | string {
  const name = `openblas (${threads} ${threads === 1 ? "thread" : "threads"})`;
  const library = open();
  if (!library) return name;
  const a = wave(size * size, 1), b = wave(size * size, 2), c = new Float32Array(size * size);
  const rowMajor = 101, plain = 111;
  const work = () => {
    library.openblas_set_num_threads(threads);
    const time = timed(() =>
      library.cblas_sgemm(
        rowMajor,
        plain,
        plain,
        size,
        size,
        size,
        1,
        a,
        size,
        b,
        size,
        0,
        c,
        size,
      )
    );
    library.openblas_set_num_threads(1); // as our own calls of the same library have it
    return time;
  };
  return {
    name,
    result: () => {
      work();
      return sample(c);
    },
    run: work,
  };
}

function open() {
  for (const file of ["libopenblas.so.0", "libopenblas.so"]) {
    try {
      return Deno.dlopen(file, {
        cblas_sgemm: {
          parameters: [
            "i32",
            "i32",
            "i32",
            "i32",
            "i32",
            "i32",
            "f32",
            "buffer",
            "i32",
            "buffer",
            "i32",
            "f32",
            "buffer",
            "i32",
          ],
          result: "void",
        },
        openblas_set_num_threads: { parameters: ["i32"], result: "void" },
      }).symbols;
    } catch {
      // the next name
    }
  }
  return undefined;
}
