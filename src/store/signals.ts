/** What happens in a store's own process, for those who would otherwise have to ask the database. */
export interface Signals {
  /** Something was appended. */
  appended(): void;
  /** A subscription has come to a position, in one of its so many partitions. */
  progressed(
    subscription: string,
    part: { readonly partition: number; readonly partitions: number },
    position: number,
  ): void;
  /** How far a partition has come here; 0 when it does not run here. */
  progressOf(subscription: string, partition: number): number;
  /** How far a subscription has come, when all of it runs here. */
  positionOf(subscription: string): number | undefined;
  /** Forgets a partition that does not run here any more. */
  forget(subscription: string, partition: number): void;
  onAppended(listener: () => void): () => void;
  onProgress(listener: (subscription: string) => void): () => void;
}

export function signals(): Signals {
  const appendListeners = new Set<() => void>();
  const progressListeners = new Set<(subscription: string) => void>();
  /** How far each partition has come that runs here; `undefined` for one that does not. */
  const progress = new Map<string, (number | undefined)[]>();
  return {
    appended: () => {
      for (const listener of appendListeners) listener();
    },
    progressed: (subscription, { partition, partitions }, position) => {
      let positions = progress.get(subscription);
      if (positions?.length !== partitions) {
        positions = Array.from({ length: partitions }, () => undefined);
        progress.set(subscription, positions);
      }
      positions[partition] = position;
      for (const listener of progressListeners) listener(subscription);
    },
    progressOf: (subscription, partition) => progress.get(subscription)?.[partition] ?? 0,
    positionOf: (subscription) => {
      let least: number | undefined;
      for (const position of progress.get(subscription) ?? []) {
        if (position === undefined) return undefined;
        least = Math.min(position, least ?? position);
      }
      return least;
    },
    forget: (subscription, partition) => {
      const positions = progress.get(subscription);
      if (positions !== undefined) positions[partition] = undefined;
    },
    onAppended: (listener) => {
      appendListeners.add(listener);
      return () => {
        appendListeners.delete(listener);
      };
    },
    onProgress: (listener) => {
      progressListeners.add(listener);
      return () => {
        progressListeners.delete(listener);
      };
    },
  };
}
