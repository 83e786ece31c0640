/** The functions of Open MPI's C library that are used here, through Deno's foreign functions. */

const symbols = {
  MPI_Init: { parameters: ["pointer", "pointer"], result: "i32" },
  MPI_Finalize: { parameters: [], result: "i32" },
  MPI_Abort: { parameters: ["pointer", "i32"], result: "i32" },
  MPI_Comm_rank: { parameters: ["pointer", "buffer"], result: "i32" },
  MPI_Comm_size: { parameters: ["pointer", "buffer"], result: "i32" },
  MPI_Comm_set_errhandler: { parameters: ["pointer", "pointer"], result: "i32" },
  MPI_Get_processor_name: { parameters: ["buffer", "buffer"], result: "i32" },
  MPI_Error_string: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  MPI_Barrier: { parameters: ["pointer"], result: "i32" },
  MPI_Bcast: { parameters: ["buffer", "i32", "pointer", "i32", "pointer"], result: "i32" },
  MPI_Allreduce: {
    parameters: ["pointer", "buffer", "i32", "pointer", "pointer", "pointer"],
    result: "i32",
  },
  MPI_Iallreduce: {
    parameters: ["pointer", "buffer", "i32", "pointer", "pointer", "pointer", "buffer"],
    result: "i32",
  },
  MPI_Test: { parameters: ["buffer", "buffer", "pointer"], result: "i32" },
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
  ompi_mpi_errors_return: { type: "pointer" },
  ompi_mpi_byte: { type: "pointer" },
  ompi_mpi_int32_t: { type: "pointer" },
  ompi_mpi_float: { type: "pointer" },
  ompi_mpi_op_sum: { type: "pointer" },
} as const satisfies Deno.ForeignLibraryInterface;

type Functions = Deno.DynamicLibrary<typeof symbols>["symbols"];

/** Bytes of the longest text, `MPI_MAX_ERROR_STRING` and `MPI_MAX_PROCESSOR_NAME` of Open MPI. */
const longestText = 256;

/** The calls of MPI on all processes; each throws where MPI reports an error. */
export interface OpenMpi {
  readonly rank: number;
  readonly size: number;
  /** The name of this machine. */
  readonly host: string;
  barrier(): void;
  broadcast(bytes: Uint8Array, root: number): void;
  /** Sums in place. */
  sum(elements: Float32Array): void;
  /**
   * Begins to sum in place. To be asked until it returns true, that it is done; it goes on while
   * this or any other call of MPI runs. The caller holds the elements until then.
   */
  startSum(elements: Float32Array): () => boolean;
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
 * @param library The library's file.
 * @throws {Error} If the library is missing, or may not be loaded.
 */
export function startOpenMpi(library = "libmpi.so.40"): OpenMpi {
  const mpi = load(library);
  const handle = (name: keyof Functions & `ompi_${string}`) => mpi[name] as Deno.PointerValue;
  const world = handle("ompi_mpi_comm_world");
  const [bytes, int32] = [handle("ompi_mpi_byte"), handle("ompi_mpi_int32_t")];
  const [float, sum] = [handle("ompi_mpi_float"), handle("ompi_mpi_op_sum")];
  const number = new Int32Array(1);
  const textOf = (call: (text: Uint8Array<ArrayBuffer>) => void) => {
    const text = new Uint8Array(longestText);
    call(text);
    return new TextDecoder().decode(text.subarray(0, number[0]));
  };
  const check = (status: number, name: string) => {
    if (status === 0) return;
    const message = textOf((text) => mpi.MPI_Error_string(status, text, number));
    throw new Error(`${name}: expected success but found ${message}`);
  };
  check(mpi.MPI_Init(null, null), "MPI_Init");
  // Otherwise the library ends the process itself, without saying where it was.
  const returned = handle("ompi_mpi_errors_return");
  check(mpi.MPI_Comm_set_errhandler(world, returned), "MPI_Comm_set_errhandler");
  check(mpi.MPI_Comm_rank(world, number), "MPI_Comm_rank");
  const rank = number[0]!;
  check(mpi.MPI_Comm_size(world, number), "MPI_Comm_size");
  const size = number[0]!;
  const host = textOf((text) =>
    check(mpi.MPI_Get_processor_name(text, number), "MPI_Get_processor_name")
  );
  const inPlace = Deno.UnsafePointer.create(1n); // MPI_IN_PLACE
  return {
    rank,
    size,
    host,
    barrier: () => check(mpi.MPI_Barrier(world), "MPI_Barrier"),
    broadcast(content, root) {
      check(mpi.MPI_Bcast(own(content), content.length, bytes, root, world), "MPI_Bcast");
    },
    sum(elements) {
      check(
        mpi.MPI_Allreduce(inPlace, own(elements), elements.length, float, sum, world),
        "MPI_Allreduce",
      );
    },
    startSum(elements) {
      const request = own(new BigUint64Array(new ArrayBuffer(8)));
      const flag = new Int32Array(1);
      check(
        mpi.MPI_Iallreduce(inPlace, own(elements), elements.length, float, sum, world, request),
        "MPI_Iallreduce",
      );
      return () => {
        check(mpi.MPI_Test(request, own(flag), null), "MPI_Test");
        return flag[0] !== 0;
      };
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

/**
 * A view as foreign functions take it. They take views of shared memory, too, which their types do
 * not say. Asking for its buffer moves the elements of a small view out of the garbage collector's
 * reach, for calls that go on after they have returned.
 */
function own(view: ArrayBufferView): BufferSource {
  void view.buffer;
  return view as ArrayBufferView<ArrayBuffer>;
}

function load(library: string): Functions {
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
