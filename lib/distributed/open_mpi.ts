/** The functions of Open MPI's C library that are used here, through Deno's foreign functions. */

const library = "libmpi.so.40";

const symbols = {
  MPI_Init: { parameters: ["pointer", "pointer"], result: "i32" },
  MPI_Finalize: { parameters: [], result: "i32" },
  MPI_Abort: { parameters: ["pointer", "i32"], result: "i32" },
  MPI_Comm_rank: { parameters: ["pointer", "buffer"], result: "i32" },
  MPI_Comm_size: { parameters: ["pointer", "buffer"], result: "i32" },
  MPI_Barrier: { parameters: ["pointer"], result: "i32" },
  MPI_Bcast: { parameters: ["buffer", "i32", "pointer", "i32", "pointer"], result: "i32" },
  MPI_Allreduce: {
    parameters: ["pointer", "buffer", "i32", "pointer", "pointer", "pointer"],
    result: "i32",
  },
  MPI_Allgather: {
    parameters: ["buffer", "i32", "pointer", "buffer", "i32", "pointer", "pointer"],
    result: "i32",
  },
  MPI_Allgatherv: {
    parameters: ["buffer", "i32", "pointer", "buffer", "buffer", "buffer", "pointer", "pointer"],
    result: "i32",
  },
  // Handles are the addresses of these.
  ompi_mpi_comm_world: { type: "pointer" },
  ompi_mpi_byte: { type: "pointer" },
  ompi_mpi_int32_t: { type: "pointer" },
  ompi_mpi_float: { type: "pointer" },
  ompi_mpi_op_sum: { type: "pointer" },
} as const satisfies Deno.ForeignLibraryInterface;

type Functions = Deno.DynamicLibrary<typeof symbols>["symbols"];

/** The calls of MPI on all processes; each throws where MPI reports an error. */
export interface OpenMpi {
  readonly rank: number;
  readonly size: number;
  barrier(): void;
  broadcast(bytes: Uint8Array, root: number): void;
  /** Sums in place. */
  sum(elements: Float32Array): void;
  /** `all` takes one integer from each. */
  gatherIntegers(own: Int32Array, all: Int32Array): void;
  /** `all` takes `lengths[rank]` bytes from each. */
  gatherBytes(own: Uint8Array, all: Uint8Array, lengths: Int32Array): void;
  finalize(): void;
  abort(code: number): void;
}

/**
 * Loads the library and starts MPI.
 *
 * @throws {Error} If the library is missing, or may not be loaded.
 */
export function startOpenMpi(): OpenMpi {
  const mpi = load();
  const world = mpi.ompi_mpi_comm_world as Deno.PointerValue;
  const bytes = mpi.ompi_mpi_byte as Deno.PointerValue;
  const int32 = mpi.ompi_mpi_int32_t as Deno.PointerValue;
  const check = (status: number, name: string) => {
    if (status !== 0) throw new Error(`${name}: expected success but found MPI error ${status}`);
  };
  check(mpi.MPI_Init(null, null), "MPI_Init");
  const number = new Int32Array(1);
  check(mpi.MPI_Comm_rank(world, number), "MPI_Comm_rank");
  const rank = number[0]!;
  check(mpi.MPI_Comm_size(world, number), "MPI_Comm_size");
  const size = number[0]!;
  const inPlace = Deno.UnsafePointer.create(1n); // MPI_IN_PLACE
  return {
    rank,
    size,
    barrier: () => check(mpi.MPI_Barrier(world), "MPI_Barrier"),
    broadcast(content, root) {
      check(mpi.MPI_Bcast(own(content), content.length, bytes, root, world), "MPI_Bcast");
    },
    sum(elements) {
      const float = mpi.ompi_mpi_float as Deno.PointerValue;
      const sum = mpi.ompi_mpi_op_sum as Deno.PointerValue;
      check(
        mpi.MPI_Allreduce(inPlace, own(elements), elements.length, float, sum, world),
        "MPI_Allreduce",
      );
    },
    gatherIntegers(mine, all) {
      const count = mine.length;
      check(
        mpi.MPI_Allgather(own(mine), count, int32, own(all), count, int32, world),
        "MPI_Allgather",
      );
    },
    gatherBytes(mine, all, lengths) {
      let end = 0;
      const starts = lengths.map((length) => (end += length) - length);
      check(
        mpi.MPI_Allgatherv(
          own(mine),
          mine.length,
          bytes,
          own(all),
          own(lengths),
          own(starts),
          bytes,
          world,
        ),
        "MPI_Allgatherv",
      );
    },
    finalize: () => check(mpi.MPI_Finalize(), "MPI_Finalize"),
    abort: (code) => check(mpi.MPI_Abort(world, code), "MPI_Abort"),
  };
}

/** Foreign functions take views of shared memory, too, which their types do not say. */
function own(view: ArrayBufferView): BufferSource {
  return view as ArrayBufferView<ArrayBuffer>;
}

function load(): Functions {
  try {
    return Deno.dlopen(library, symbols).symbols;
  } catch (cause) {
    const reason = cause instanceof Deno.errors.NotCapable
      ? "run deno with --allow-ffi"
      : "install Open MPI 4 or 5 (on Debian: apt-get install openmpi-bin)";
    throw new Error(
      `openMpi: expected to load ${library} but found "${(cause as Error).message}": ${reason}`,
      { cause },
    );
  }
}
