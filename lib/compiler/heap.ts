/** A priority queue. */

/** A binary heap, the lowest rank first. */
export class Heap<T> {
  #items: T[] = [];
  constructor(readonly rank: (item: T) => number) {}

  get size(): number {
    return this.#items.length;
  }

  push(item: T): void {
    const items = this.#items;
    let at = items.push(item) - 1;
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (this.rank(items[above]!) <= this.rank(item)) break;
      items[at] = items[above]!;
      at = above;
    }
    items[at] = item;
  }

  pop(): T {
    const items = this.#items;
    const top = items[0]!;
    const item = items.pop()!;
    if (items.length === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && this.rank(items[child + 1]!) < this.rank(items[child]!)) {
        child++;
      }
      if (this.rank(items[child]!) >= this.rank(item)) break;
      items[at] = items[child]!;
      at = child;
    }
    items[at] = item;
    return top;
  }
}
