/** The elements of tensors where MPI can take them and put others in their place. */
import { currentDevice } from "../device.ts";
import type { HostArray } from "../dtype.ts";
import { type Tensor, tensor } from "../tensor.ts";

/** The elements of a tensor on the host, and the tensor of them once they have been changed. */
export interface HostTensor {
  readonly elements: HostArray;
  readonly changed: () => Tensor;
}

/** The elements of a computed tensor where they lie, if the device lets the host at them. */
export function inPlace(x: Tensor): HostTensor | undefined {
  const { storage } = x.value;
  const elements = storage && storage.backend === currentDevice() && !storage.released
    ? storage.backend.view?.(storage.buffer, x.value)
    : undefined;
  return elements && { elements, changed: () => x };
}

/** The elements where they lie, or else a copy, whose tensor then takes the place of the other. */
export async function onHost(x: Tensor): Promise<HostTensor> {
  const found = inPlace(x);
  if (found) return found;
  const copy = await x.data();
  return {
    elements: copy,
    changed() {
      x.dispose();
      return tensor(copy, { shape: x.shape, dtype: x.dtype });
    },
  };
}
