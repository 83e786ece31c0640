/** Features of images by several processes, each of which takes batches in turn. */
import type { Mpi } from "../../lib/distributed/mpi.ts";
import type { FeatureExtractor, Features } from "./features.ts";
import type { Pixels } from "./images.ts";

/** The features of some images. */
export interface FeatureBatch extends Features<Float32Array> {
  readonly count: number;
}

/**
 * The features of batches in their order. Processes take the batches in turn and then tell each other, so that all have
 * the same of all images, and the same as one alone.
 */
export async function* featuresOf(
  batches: AsyncIterable<Pixels>,
  features: FeatureExtractor,
  mpi: Mpi,
): AsyncGenerator<FeatureBatch> {
  let round: FeatureBatch[] = [];
  let at = 0;
  for await (const batch of batches) {
    const isOwn = at++ % mpi.size === mpi.rank;
    if (isOwn) round.push({ count: batch.count, ...await features.extract(batch) });
    if (at % mpi.size !== 0) continue;
    yield* gathered(mpi, round);
    round = [];
  }
  if (at % mpi.size !== 0) yield* gathered(mpi, round);
}

/** What every process has, by rank. */
function gathered(mpi: Mpi, own: readonly FeatureBatch[]): FeatureBatch[] {
  if (mpi.size === 1) return [...own];
  const counts = mpi.gather(own.map(({ count }) => count)).flat();
  const all = (name: keyof Features) => {
    const bytes = own.map((batch) => new Uint8Array(batch[name].slice().buffer));
    return mpi.gatherBytes(bytes[0] ?? new Uint8Array()).filter(({ length }) => length > 0)
      .map((part) => new Float32Array(part.slice().buffer));
  };
  const pooled = all("pooled"), spatial = all("spatial"), probabilities = all("probabilities");
  return counts.map((count, i) => ({
    count,
    pooled: pooled[i]!,
    spatial: spatial[i]!,
    probabilities: probabilities[i]!,
  }));
}
