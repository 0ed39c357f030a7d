// What codemirror-promql needs of the package lru-cache, whose other nine tenths nobody would run here: so many entries, for so long.
export class LRUCache<K, V> {
  private readonly max: number;
  private readonly ttl: number;
  private readonly entries = new Map<K, { value: V; until: number }>();

  constructor(options: { max?: number; ttl?: number }) {
    this.max = options.max ?? 1000;
    this.ttl = options.ttl ?? Infinity;
  }

  get(key: K): V | undefined {
    const entry = this.entries.get(key);
    if (!entry) return undefined;
    this.entries.delete(key);
    if (entry.until < Date.now()) return undefined;
    this.entries.set(key, entry); // the youngest again
    return entry.value;
  }

  set(key: K, value: V): this {
    this.entries.delete(key);
    this.entries.set(key, { value, until: Date.now() + this.ttl });
    for (const oldest of this.entries.keys()) {
      if (this.entries.size <= this.max) break;
      this.entries.delete(oldest);
    }
    return this;
  }

  has(key: K): boolean {
    return this.get(key) !== undefined;
  }

  delete(key: K): boolean {
    return this.entries.delete(key);
  }

  clear(): void {
    this.entries.clear();
  }
}
